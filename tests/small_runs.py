"""Specs of runs that take a second: the digits, a small dense network."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from noisybench.data import DataFolder
from noisybench.spec import RunSpec
from noisybench.store import Store
from noisybench.train.trainer import Interrupted, train

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
        "detection": False,
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


def stopped_after(spec: RunSpec, store: Store, folder: DataFolder, epochs: int) -> None:
    """Train until ``epochs`` epochs are done, be asked to stop, and leave a checkpoint."""
    seen: list[str] = []
    with pytest.raises(Interrupted):
        train(
            spec,
            store,
            folder,
            observe=lambda event: seen.append(event["type"]),
            stop_after=lambda: math.inf if seen.count("epoch") >= epochs else None,
        )
    assert seen.count("epoch") == epochs
