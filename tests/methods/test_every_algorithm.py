"""What no algorithm may do or die of, for every registered one: look at the truth, lose its way, meet odd data."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_runs import small_spec, stopped_after

from noisybench import registry
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.task import Task
from noisybench.store import Store
from noisybench.train import trainer
from noisybench.train.trainer import train

NAMES = [name for name in registry.names("algorithm") if name != "linear_probe"]  # needs weights; has its own tests


def spec_of(name: str, changes: dict[str, Any] | None = None) -> Any:
    """Four epochs of an algorithm with its defaults, a tenth of the images held out."""
    if extra := registry.get("algorithm", name).traits.get("extra"):
        pytest.importorskip(extra)
    base = {"method.algorithm": {"name": name}, "training.epochs": 4, "dataset.validation": 0.1}
    return small_spec(base | (changes or {}))


def trained(spec: Any, store: Store, folder: Any) -> tuple[list[float], list[np.ndarray]]:
    """Training losses by epoch, and the classes that the final network gives training and test images."""
    rows: list[dict[str, Any]] = []
    assert train(spec, store, folder, observe=rows.append)["result"]["status"] == "finished"
    with np.load(store.folder(spec.run_id) / "predictions.npz") as file:
        return [row["train_loss"] for row in rows if row["type"] == "epoch"], [file["train"], file["test"]]


@pytest.mark.parametrize("name", NAMES)
def test_truth_steers_nothing(name, tmp_path, store, folder, monkeypatch):
    """Wrong clean labels, wrong test labels, another noise in the task's spec and, where the algorithm does not say
    that it uses them, other labels of the hold-out: the run stays the same bit for bit."""
    spec = spec_of(name)
    losses, predictions = trained(spec, store, folder)
    gather, make = trainer.gather, Task.__init__
    scramble = not registry.get("algorithm", name).traits.get("uses_holdout")

    def poisoned(*arguments: Any) -> Any:
        materials = gather(*arguments)
        data = materials.dataset
        wrong = dataclasses.replace(
            data, train_labels=(data.train_labels + 3) % 10, test_labels=np.roll(data.test_labels, 7)
        )
        return dataclasses.replace(materials, dataset=wrong)

    def misled(self: Task, given: Any, **options: Any) -> None:
        make(self, {**given, "noise": {"kind": "pairflip", "rate": 0.11}}, **options)
        if scramble:
            self.labels = self.labels.clone()
            self.labels[self.holdout] = (self.labels[self.holdout] + 1) % 10

    monkeypatch.setattr(trainer, "gather", poisoned)
    monkeypatch.setattr(Task, "__init__", misled)
    again, same = trained(spec, Store(tmp_path / "poisoned"), folder)
    assert again == losses
    assert all(np.array_equal(a, b) for a, b in zip(predictions, same, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_what_stays_in_the_computers_memory_is_saved_and_comes_back_to_it(name):
    """A checkpoint of a run begun on a CPU is loaded to a GPU as a whole."""
    target = registry.get("algorithm", name).target
    assert set(target.in_memory) <= set(target.state)

    class OnGpu:
        def cpu(self) -> str:
            return "in memory"

    resumed = object.__new__(target)
    resumed.task = SimpleNamespace(models_made=0)
    plain = [key for key in target.state if not isinstance(getattr(target, key, None), property)]
    values = {key: OnGpu() for key in plain}
    Algorithm.load_state_dict(
        resumed, {"models": {}, "modes": {}, "optimizers": {}, "drives": {}, "made": 1, "values": values}
    )
    for key in plain:
        assert (getattr(resumed, key) == "in memory") == (key in target.in_memory)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_stopped_in_the_middle_goes_on_to_the_same_record(name, tmp_path, store, folder):
    spec = spec_of(name, {"training.detection": True})
    whole = train(spec, store, folder)["result"]
    assert whole["detection"]["permuted"]["auc"] == pytest.approx(0.5, abs=0.15)  # 270 labels
    other = Store(tmp_path / "stopped")
    stopped_after(spec, other, folder, whole["epochs"] // 2)
    assert train(spec, other, folder)["result"] == whole


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"noise.rate": 0.0}, id="all labels right"),
        pytest.param({"noise.rate": 0.9}, id="labels at random"),
        pytest.param(
            {"training.batch_size": 23, "dataset.validation": 0.0}, id="a last batch of one"
        ),  # 300 = 13 x 23 + 1
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_odd_data_is_survived(name, changes, store, folder):
    if registry.get("algorithm", name).traits.get("needs_holdout") and "dataset.validation" in changes:
        changes = {"training.batch_size": 269}  # of 270
    assert train(spec_of(name, changes), store, folder)["result"]["status"] == "finished"


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_labels_is_survived(name, store, folder, monkeypatch):
    gather = trainer.gather

    def without_zero(*arguments: Any) -> Any:
        materials = gather(*arguments)
        labels = materials.labels
        return dataclasses.replace(
            materials,
            index=materials.index[labels[materials.index] != 0],
            holdout=materials.holdout[labels[materials.holdout] != 0],
        )

    monkeypatch.setattr(trainer, "gather", without_zero)
    assert train(spec_of(name), store, folder)["result"]["status"] == "finished"
