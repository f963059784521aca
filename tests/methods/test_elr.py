"""ELR: four steps of the authors' code, its table, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import cross_entropy

from noisybench.methods.elr import EarlyLearningRegularisation, clamped, disagreement, regulariser, remembered
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "elr_trajectory.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"lambda-{case['hyper']['lambda']:g}")
def test_losses_gradients_and_targets_are_the_authors(case):
    strength, beta = case["hyper"]["lambda"], case["hyper"]["beta"]
    table = torch.zeros(case["num_examples"], 10, dtype=torch.float64)
    for step in case["steps"]:
        index, labels = torch.tensor(step["index"]), torch.tensor(step["labels"])
        logits = torch.tensor(step["logits"], dtype=torch.float64, requires_grad=True)
        targets = table[index] = remembered(table[index], clamped(logits), beta)
        loss = cross_entropy(logits, labels) + strength * regulariser(logits, targets).mean()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(step["loss"], rel=1e-9)
        for mine, theirs in ((gradient, step["grad_logits"]), (table, step["target_after"])):
            torch.testing.assert_close(mine, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_targets_stay_distributions_that_sum_to_less_than_one_at_first():
    table, beta = torch.zeros(3, 4), 0.7
    for step in range(1, 4):
        table = remembered(table, clamped(torch.randn(3, 4, generator=torch.Generator().manual_seed(step))), beta)
        assert table.sum(dim=1).tolist() == pytest.approx([1 - beta**step] * 3)


def test_everything_is_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    values = regulariser(logits, targets)
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad.isfinite().all()
    assert values[0] < values[2] < values[1]  # agreement is rewarded


def test_disagreement_is_the_share_of_other_labels():
    assert disagreement(torch.eye(4), torch.tensor([0, 1, 0, 0])) == 0.5


def test_a_step_moves_the_targets_of_its_batch_once(store, folder, monkeypatch):
    """Also with SAM, whose second pass must not move them again: a first epoch leaves every sum at 1 - beta."""
    seen = []
    details = EarlyLearningRegularisation.details
    monkeypatch.setattr(
        EarlyLearningRegularisation, "details", lambda self: (seen.append(self.targets.sum(dim=1)), details(self))[1]
    )
    changes = {"method.algorithm": {"name": "elr", "beta": 0.7}, "training.epochs": 1, "dataset.validation": 0.1}
    train(small_spec(changes | SAM), store, folder)
    sums = seen[0]
    assert int((sums == 0).sum()) == 30  # the hold-out has no targets
    assert sums[sums > 0].tolist() == pytest.approx([0.3] * 270, rel=1e-5)


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "elr", "lambda": 7.0}} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain, result = (memorising({"name": name}, tmp_path, folder) for name in ("erm", "elr"))
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
