"""Small hand-made plans and records for the report's tests."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisybench.spec import sha256_of

SETTINGS: dict[str, Any] = {
    "dataset": {"name": "cifar10", "train_subset": None, "test_subset": None, "validation": 0.0, "subset_seed": 0},
    "noise": {"kind": "symmetric", "rate": 0.4, "flip": "exclusive", "count": "exact", "seed": None},
    "model": {"name": "resnet34"},
    "training": {
        "epochs": 120,
        "batch_size": 128,
        "drop_last": False,
        "clip": 5.0,
        "warmup": 0,
        "augment": [{"name": "crop", "padding": 4, "mode": "zero"}, {"name": "flip"}],
        "precision": "fp32",
        "compile": "off",
        "diagnostics": "sample",
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "cosine"},
    },
    "method": {"algorithm": {"name": "erm"}, "loss": {"name": "ce"}, "mixup": None, "relabel": None},
}


def settings(**changes: Any) -> dict[str, Any]:
    """SETTINGS with values at dotted paths (``__`` for a dot) replaced."""
    out = copy.deepcopy(SETTINGS)
    for path, value in changes.items():
        node = out
        *parents, last = path.split("__")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return out


def cell(
    method: str, rate: float, *, variant: str | None = None, seeds: Sequence[int] = (0, 1, 2), **more: Any
) -> dict[str, Any]:
    """One planned cell; run ids are ``<variant>-<rate>-s<seed>`` in slug form."""
    variant = variant or method
    changes = more.pop("settings", {})
    slug = "".join(c if c.isalnum() or c == "." else "-" for c in variant.lower())
    return {
        "dataset": "cifar10",
        "noise": f"symmetric {rate:g}",
        "model": "resnet34",
        "method": method,
        "variant": variant,
        "choose": None,
        "published": None,
        "marks": [],
        "settings": settings(noise__rate=rate, **changes),
        "runs": {str(seed): f"{slug}-{rate:g}-s{seed}" for seed in seeds},
        **more,
    }


def plan(cells: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A plan over these cells."""
    return {
        "schema": 1,
        "suite": "example",
        "version": 1,
        "description": "A hand-made study",
        "recipe": "common",
        "smoke": False,
        "synthetic": False,
        "seeds": [0, 1, 2],
        "report": {"accuracy": "last", "compare": []},
        "cells": list(cells),
        **more,
    }


def record(
    planned: Mapping[str, Any], seed: int, last: float | str, *, status: str = "finished", **changes: Any
) -> dict[str, Any]:
    """A record of one run of a planned cell: accuracies ``last``, last + 1 (last10), last + 2 (best)."""
    run_id = planned["runs"][str(seed)]
    number = last if isinstance(last, (int, float)) else None
    rate = planned["settings"]["noise"]["rate"]
    result: dict[str, Any] = {
        "spec": {**planned["settings"], "seed": seed},
        "status": status,
        "data": {
            "name": "cifar10",
            "id": "cifar10",
            "fingerprint": "f" * 64,
            "comparable_as": "cifar10",
            "original_pixels": True,
            "train_size": 50000,
            "test_size": 10000,
            "holdout_size": 0,
            "num_classes": 10,
            "shape": [3, 32, 32],
        },
        "noise": {"kind": "symmetric", "rate": rate, "realised_rate": rate, "sha256": f"{seed}"},
        "test_accuracy": {
            "last": last,
            "last10": None if number is None else number + 1,
            "validation": None,
            "best": None if number is None else number + 2,
            "best_epoch": 7,
        },
        "holdout_accuracy": None,
        "epochs": 120,
        "final": {"memorised": 60.0 + seed if rate else None, "corrected": 20.0 if rate else None},
        "gradient_evaluations": 1000,
    }
    for path, value in changes.items():
        node = result
        *parents, leaf = path.split("__")
        for part in parents:
            node = node[part]
        node[leaf] = value
    return {
        "schema": 1,
        "run_id": run_id,
        "result": result,
        "provenance": {"precision": "fp32"},
        "result_sha256": sha256_of(result),
    }


def store(folder: Path, plan: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Path:
    """Write plan and records as a results folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    for item in records:
        place = folder / str(item["run_id"])
        place.mkdir(exist_ok=True)
        (place / "record.json").write_text(json.dumps(item))
    return folder


def study(
    folder: Path,
    accuracy: Callable[[str, float, int], float],
    methods: Sequence[str] = ("SGD", "SAM"),
    rates: Sequence[float] = (0.0, 0.4),
) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A full study: every run finished with ``accuracy(method, rate, seed)``. Returns folder, plan, records."""
    cells = [cell(method, rate) for rate in rates for method in methods]
    whole = plan(cells)
    records = [record(c, s, accuracy(c["method"], c["settings"]["noise"]["rate"], s)) for c in cells for s in (0, 1, 2)]
    return store(folder, whole, records), whole, records
