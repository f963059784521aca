"""The report over thousands of records, made from one real run."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

from noisybench.bench.processes import command
from noisybench.data import DataFolder
from noisybench.seeding import Draws
from noisybench.store import Store
from noisybench.suite import build_plan, load_suite
from noisybench.train.trainer import train

STUDY = """
name: many
version: 1
dataset: {{name: digits, train_subset: 100, test_subset: 50}}
noise: {{kind: symmetric, flip: exclusive, rate: [{rates}]}}
model: {{name: mlp, width: 8}}
training: {{epochs: 2}}
seeds: 10
methods:
{methods}
"""
METHODS, SEEDS = 50, 10


def measure_report(records: int, folder: Path, methods: int = METHODS) -> float:
    """Seconds of ``noisybench report`` over so many records (a multiple of 10 x ``methods``), each with its numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"many-{records}.yaml"
    rates = ", ".join(f"{(i + 1) / 50:g}" for i in range(records // (methods * SEEDS)))
    rows = "\n".join(f"  Method {i}: {{clip: {i + 1}}}" for i in range(methods))
    path.write_text(STUDY.format(rates=rates, methods=rows), encoding="utf-8")
    expansion = load_suite(path).expand()
    store = Store(folder / f"store-{records}")
    data = DataFolder(folder, folder)
    first = expansion.runs[0]
    template = train(first, store, data, keep_weights="no")
    store.write_plan(build_plan(expansion))
    draws = Draws(0, "bench", "report")
    points = draws.integers(len(expansion.runs), 1000)
    for spec, point in zip(expansion.runs[1:], points[1:], strict=True):
        result: dict[str, Any] = copy.deepcopy(template["result"])
        result["spec"] = spec.data
        for rule in ("last", "last10", "best"):
            result["test_accuracy"][rule] = 50 + float(point) / 50
        store.write_spec(spec)
        store.write_record(spec.run_id, result, template["provenance"])
    start = time.perf_counter()
    command("report", str(store.root), "--out", str(folder / f"report-{records}"))
    return time.perf_counter() - start
