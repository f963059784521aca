"""Small runs for the tests of trainer, store and executors."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from noisybench.data import DataFolder
from noisybench.spec import RunSpec
from noisybench.store import Store

SMALL: dict[str, Any] = {
    "dataset": {"name": "digits", "train_subset": 300, "test_subset": 100, "validation": 0.0, "subset_seed": 0},
    "noise": {"kind": "symmetric", "rate": 0.4, "flip": "exclusive", "count": "exact", "seed": None},
    "model": {"name": "mlp", "width": 32},
    "training": {
        "epochs": 3,
        "batch_size": 64,
        "drop_last": False,
        "clip": None,
        "warmup": 0,
        "augment": [],
        "precision": "auto",
        "compile": "off",
        "diagnostics": "sample",
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005},
        "schedule": {"name": "cosine"},
    },
    "method": {"algorithm": {"name": "erm"}, "loss": {"name": "ce"}, "mixup": None, "relabel": None},
    "seed": 0,
}


def small_spec(changes: dict[str, Any] | None = None) -> RunSpec:
    """A run of seconds on the digits; ``changes`` maps dotted paths to values."""
    data = copy.deepcopy(SMALL)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node = data
        for part in parents:
            node = node[part]
        node[last] = value
    return RunSpec.of(data, defaults={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs" / "study")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data", None)
