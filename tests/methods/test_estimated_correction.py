"""Correction with an estimated matrix: the authors' estimator, both stages, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.losses import build_loss
from noisybench.methods import estimated_correction
from noisybench.methods.estimated_correction import EstimatedCorrection, estimate_transition
from noisybench.train.trainer import train

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((FOLDER / "t_estimator.json").read_text())
LOSSES = json.loads((FOLDER / "losses_correction.json").read_text())
CORRECTIONS = [case for case in LOSSES["cases"] if case["loss"].endswith("-correction")]


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: str(case["filter_outlier_97th_percentile"]))
def test_the_estimate_is_the_authors(case):
    probabilities = torch.tensor(REFERENCE["eta"], dtype=torch.float64)
    estimate = estimate_transition(probabilities, outlier_filter=case["filter_outlier_97th_percentile"])
    expected = case["T"] if not case["filter_outlier_97th_percentile"] else REFERENCE["T_filter_without_leak"]
    torch.testing.assert_close(estimate, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_the_filter_of_one_class_leaves_the_others_alone():
    """The image of class 0 that is filtered there is the best of class 1: the authors' code would lose it."""
    probabilities = torch.full((100, 2), 0.5, dtype=torch.float64)
    probabilities[:, 0] = 0.3 + 0.001 * torch.arange(100)
    probabilities[:, 1] = 0.7 - 0.001 * torch.arange(100)
    first, second = estimate_transition(probabilities)
    assert first.tolist() == pytest.approx([0.396, 0.604])  # the largest are .399, .398, .397
    assert second.tolist() == pytest.approx([0.303, 0.697])


def test_where_the_filter_leaves_nothing_all_count():
    probabilities = torch.full((50, 2), 0.5, dtype=torch.float64)
    assert estimate_transition(probabilities).tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("case", CORRECTIONS, ids=lambda case: f"{case['loss']}-{case['hyper']['T_name']}")
def test_the_second_stages_losses_are_the_authors(case):
    name = case["loss"].removesuffix("-correction")
    batch = LOSSES["batches"][case["batch"]]
    loss = build_loss(name, transition=case["hyper"]["T"])
    values = loss(torch.tensor(batch["logits"], dtype=torch.float64), torch.tensor(batch["labels"]))
    expected = torch.tensor(case["hand_float64_unclipped_per_sample"], dtype=torch.float64)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-12)


def test_a_perfect_posterior_gives_the_transition_matrix():
    transition = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])
    clean = np.random.default_rng(0).dirichlet([0.3] * 3, size=5000)
    clean[:300] = np.eye(3)[np.arange(300) % 3]
    estimate = estimate_transition(torch.from_numpy(clean @ transition), outlier_filter=False)
    assert estimate.numpy() == pytest.approx(transition, abs=1e-9)


def watched_run(monkeypatch, store, folder, changes=None, **params):
    kept, estimates = [], []
    details, estimate = EstimatedCorrection.details, EstimatedCorrection._estimate

    def watched(self, epoch):
        estimate(self, epoch)
        task = self.task
        logits = task.predict_train(lambda x: task.forward(self.model, x))
        estimates.append((epoch, logits[task.index], logits[task.holdout], task.labels[task.holdout]))

    monkeypatch.setattr(EstimatedCorrection, "_estimate", watched)
    monkeypatch.setattr(EstimatedCorrection, "details", lambda self: (kept.append(self), details(self))[1])
    rows = []
    algorithm = {"name": "estimated_correction", **params}
    spec = small_spec({"method.algorithm": algorithm, "training.epochs": 12} | (changes or {}))
    result = train(spec, store, folder, observe=rows.append)["result"]
    return kept[0], estimates, [row for row in rows if row["type"] == "epoch"], result


def test_without_a_hold_out_the_last_epoch_counts(store, folder, monkeypatch):
    algorithm, estimates, rows, result = watched_run(monkeypatch, store, folder, estimate_epochs=4)
    assert [row["phase"] for row in rows] == ["estimate"] * 4 + ["retrain"] * 12
    ((epoch, logits, _, _),) = estimates
    assert epoch == 4
    expected = estimate_transition(torch.softmax(logits.double(), dim=1))
    torch.testing.assert_close(algorithm.transition, expected)
    rate = 1 - float(expected.diagonal().mean())
    assert result["details"] == {"estimated_noise_rate": pytest.approx(rate), "estimated_in_epoch": 4.0}
    assert result["gradient_evaluations"] == 16 * 300


def test_with_a_hold_out_the_epoch_of_its_lowest_loss_counts(store, folder, monkeypatch):
    changes = {"dataset.validation": 0.2, "model.width": 256, "training.optimizer.lr": 0.2, "training.epochs": 15}
    algorithm, estimates, rows, result = watched_run(monkeypatch, store, folder, changes)
    first = [row["holdout_loss"] for row in rows if row["phase"] == "estimate"]
    best = min(range(15), key=lambda epoch: first[epoch])
    assert result["details"]["estimated_in_epoch"] == best + 1 < 15
    assert estimates[-1][0] == best + 1
    expected = estimate_transition(torch.softmax(estimates[-1][1].double(), dim=1))
    torch.testing.assert_close(algorithm.transition, expected)


def test_the_second_stage_starts_from_scratch(store, folder, monkeypatch):
    """With the identity for T-hat it is plain training with another initialisation and the epochs' later orders."""
    monkeypatch.setattr(
        estimated_correction, "estimate_transition", lambda p, outlier_filter: torch.eye(10, dtype=torch.float64)
    )
    started = []
    begin = EstimatedCorrection.begin_phase

    def watched(self, number, phase):
        begin(self, number, phase)
        started.append({key: value.clone() for key, value in self.model.state_dict().items()})
        assert len(self.task.models) == len(self.task.optimizers) == 1
        assert not self.optimizer.state_dict()["state"]

    monkeypatch.setattr(EstimatedCorrection, "begin_phase", watched)
    algorithm, *_ = watched_run(monkeypatch, store, folder)
    task = algorithm.task
    task.models_made = 1
    fresh = task.model().state_dict()
    assert all(torch.equal(started[1][key], fresh[key]) for key in fresh)
    assert not all(torch.equal(started[0][key], fresh[key]) for key in fresh)


@pytest.mark.parametrize(
    ("changes", "params"),
    [({}, {}), (BATCH_NORM, {}), (SAM, {}), (HOLDOUT, {"correction": "backward"})],
    ids=["mlp", "batch norm", "sam", "hold-out"],
)
def test_resuming_in_either_stage_changes_nothing(changes, params, tmp_path, store, folder):
    algorithm = {"name": "estimated_correction", **params}
    slow = {} if "training.optimizer" in changes else {"training.optimizer.lr": 0.02}
    spec = small_spec({"method.algorithm": algorithm, "training.epochs": 2} | slow | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_forward_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder, dataset__validation=0.15)
    result = memorising({"name": "estimated_correction"}, tmp_path, folder, dataset__validation=0.15)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 3
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.15)


def test_backward_learns_at_a_small_learning_rate(tmp_path, folder):
    changes = {"dataset__validation": 0.15, "training__optimizer.lr": 0.005}
    result = memorising({"name": "estimated_correction", "correction": "backward"}, tmp_path, folder, **changes)
    assert result["test_accuracy"]["last"] > 75
