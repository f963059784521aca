"""PLC: corrections of the authors' code epoch by epoch, what is recorded, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.methods.plc import ProgressiveLabelCorrection, contradicted, next_threshold
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "plc.json").read_text())
EAGER = {"name": "plc", "warm_up": 1, "window": 2, "threshold": 0.5}


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"window-{case['window']}")
def test_labels_and_thresholds_are_the_authors(case):
    labels = torch.tensor(case["labels"])
    threshold = torch.tensor(case["delta"], dtype=torch.float64)
    record = []
    for epoch, expected in enumerate(case["epochs"]):
        probabilities = torch.tensor(expected["logits"], dtype=torch.float64).softmax(dim=1)
        record = [*record, probabilities][-case["window"] :]
        if epoch >= case["warm_up"]:
            mean = torch.stack(record).sum(dim=0) / case["window"]
            wrong = contradicted(mean, labels, threshold)
            labels = torch.where(wrong, mean.argmax(dim=1), labels)
            threshold = next_threshold(threshold, wrong, case["increment"])
        assert labels.tolist() == expected["labels"]
        assert float(threshold) == pytest.approx(expected["delta"], rel=1e-12)


def test_nobody_contradicts_an_image_that_was_never_seen():
    assert contradicted(torch.zeros(2, 3), torch.tensor([0, 2]), 0.9).tolist() == [False, False]


def test_the_threshold_rises_where_fewer_than_a_thousandth_are_corrected():
    start = torch.tensor(0.3, dtype=torch.float64)
    corrected = torch.zeros(1000, dtype=torch.bool)
    assert float(next_threshold(start, corrected, 0.1)) == pytest.approx(0.4)
    assert float(next_threshold(torch.tensor(0.85), corrected, 0.1)) == pytest.approx(0.9)
    corrected[0] = True
    assert float(next_threshold(start, corrected, 0.1)) == 0.3


def watched(monkeypatch):
    """The algorithm's record and labels after each epoch, and the algorithm."""
    seen, whole = [], ProgressiveLabelCorrection.train_epoch

    def watch(self, epoch, loader):
        mean = whole(self, epoch, loader)
        seen.append((self.record.clone(), self.labels.clone(), self))
        return mean

    monkeypatch.setattr(ProgressiveLabelCorrection, "train_epoch", watch)
    return seen


@pytest.mark.parametrize("optimizer", [{}, SAM], ids=["sgd", "sam"])
def test_predictions_of_the_last_epochs_correct_the_labels_of_the_training_part(optimizer, store, folder, monkeypatch):
    seen = watched(monkeypatch)
    changes = {"method.algorithm": EAGER, "training.epochs": 4, "dataset.validation": 0.1}
    details = train(small_spec(changes | optimizer), store, folder)["result"]["details"]
    records, labels = [record for record, _, _ in seen], [label for _, label, _ in seen]
    task = seen[0][2].task
    assert torch.equal(labels[0], task.labels)  # the warm-up
    assert torch.equal(records[1][0], records[0][0])
    assert torch.equal(records[2][1], records[1][1])  # epoch 2 went over epoch 0
    assert not torch.equal(records[2][0], records[1][0])
    sums = records[3].sum(dim=2)
    assert sums[:, task.index].flatten().tolist() == pytest.approx([1.0] * 2 * 270, rel=1e-5)
    assert float(sums[:, task.holdout].abs().max()) == 0
    changed = labels[3] != task.labels
    assert 10 < int(changed.sum()) < 250
    assert not changed[task.holdout].any()
    assert details["estimated_noise_rate"] == pytest.approx(float(changed[task.index].float().mean()))
    assert 0.5 <= details["threshold"] <= 0.9


def test_before_the_first_correction_it_is_plain_training(tmp_path, store, folder):
    curves = []
    for algorithm in ({"name": "erm"}, {"name": "plc", "warm_up": 3}):
        rows = []
        spec = small_spec({"method.algorithm": algorithm})
        train(spec, type(store)(tmp_path / algorithm["name"]), folder, observe=rows.append)
        curves.append([row["test_loss"] for row in rows if row["type"] == "epoch"])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": EAGER, "training.epochs": 4} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising(EAGER | {"warm_up": 2}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 15
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
