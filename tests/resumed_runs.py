"""Runs that are stopped and resumed, and how well a method learns where plain training memorises."""

from __future__ import annotations

from typing import Any

from small_runs import small_spec, stopped_after

from noisybench.data import DataFolder
from noisybench.store import Store
from noisybench.train.trainer import train

BATCH_NORM: dict[str, Any] = {"model": {"name": "small_cnn", "width": 4}, "training.augment": ["crop", "flip"]}
SAM: dict[str, Any] = {"training.optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}}
HOLDOUT: dict[str, Any] = {"dataset.validation": 0.1, "training.batch_size": 90}


def resumed_equals_whole(spec: Any, tmp_path: Any, store: Store, folder: DataFolder) -> dict[str, Any]:
    """Stop the run after each of its epochs but the last; every resumed record equals the whole run's, returned."""
    whole = train(spec, store, folder)["result"]
    assert whole["status"] == "finished"
    for epochs in range(1, whole["epochs"]):
        other = Store(tmp_path / f"stopped-{epochs}" / "study")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole
    return whole


def memorising(algorithm: dict[str, Any], tmp_path: Any, folder: DataFolder, **changes: Any) -> dict[str, Any]:
    """The result of 30 epochs on 1,200 digits, 40 % of them labelled wrongly, where plain training memorises."""
    place = {"dataset.train_subset": 1200, "dataset.test_subset": 500, "training.epochs": 30, "model.width": 256}
    spec = small_spec(place | {"method.algorithm": algorithm} | {k.replace("__", "."): v for k, v in changes.items()})
    result: dict[str, Any] = train(spec, Store(tmp_path / "runs" / algorithm["name"]), folder)["result"]
    assert result["status"] == "finished"
    return result
