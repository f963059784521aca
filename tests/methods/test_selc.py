"""SELC: steps of the authors' code, when targets move, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import one_hot

from noisybench.methods.selc import SelfEnsembleLabelCorrection, corrected, soft_cross_entropy
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "selc.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"alpha-{case['alpha']:g}")
def test_losses_gradients_and_targets_are_the_authors(case):
    labels = torch.tensor(case["labels"])
    table = one_hot(labels, len(case["steps"][0]["logits"][0])).double()
    for step in case["steps"]:
        index = torch.tensor(step["index"])
        logits = torch.tensor(step["logits"], dtype=torch.float64, requires_grad=True)
        memory = 1.0 if step["epoch"] - 1 < case["es"] else case["alpha"]  # epochs are counted from 1 there
        targets = table[index] = corrected(table[index], logits, memory)
        loss = soft_cross_entropy(logits, targets).mean()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(step["loss"], rel=1e-9)
        for mine, theirs in ((gradient, step["grad_logits"]), (table, step["table_after"])):
            torch.testing.assert_close(mine, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_targets_stay_distributions_and_the_loss_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    targets = corrected(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), logits, 0.9)
    assert targets.sum(dim=1).tolist() == pytest.approx([1, 1])
    losses = soft_cross_entropy(logits, targets)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.9 * 2e4, 0.0])
    assert logits.grad.isfinite().all()


def watched(monkeypatch):
    """The table of targets after each epoch."""
    tables, whole = [], SelfEnsembleLabelCorrection.train_epoch

    def watch(self, epoch, loader):
        mean = whole(self, epoch, loader)
        tables.append(self.targets.clone())
        return mean

    monkeypatch.setattr(SelfEnsembleLabelCorrection, "train_epoch", watch)
    return tables


def test_targets_move_once_an_epoch_from_the_named_epoch_on_also_with_sam(store, folder, monkeypatch):
    tables = watched(monkeypatch)
    algorithm = {"name": "selc", "begin": 1, "alpha": 0.5}
    changes = {"method.algorithm": algorithm, "dataset.validation": 0.1, "training.epochs": 3}
    train(small_spec(changes | SAM), store, folder)
    assert set(tables[0].unique().tolist()) == {0.0, 1.0}
    labels = tables[0].argmax(dim=1)
    for done, table in enumerate(tables[1:], start=1):
        left = table[torch.arange(300), labels]
        still = (table == tables[0]).all(dim=1)
        assert int(still.sum()) == 30  # the hold-out keeps its labels, and nobody looks at them
        assert (left[~still] >= 0.5**done).all()
        assert (left[~still] < 1).all()
        assert table.sum(dim=1).tolist() == pytest.approx([1] * 300, rel=1e-5)


def test_before_that_it_is_plain_training(tmp_path, store, folder):
    curves = []
    for algorithm in ({"name": "erm"}, {"name": "selc", "begin": 3}):
        rows = []
        spec = small_spec({"method.algorithm": algorithm})
        train(spec, type(store)(tmp_path / algorithm["name"]), folder, observe=rows.append)
        curves.append([row["test_loss"] for row in rows if row["type"] == "epoch"])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_the_turning_point_is_a_share_of_the_epochs_unless_stated(store, folder, monkeypatch):
    seen = []
    monkeypatch.setattr(SelfEnsembleLabelCorrection, "details", lambda self: (seen.append(self.begin), {})[1])
    for epochs, stated in ((20, {}), (2, {}), (4, {"begin": 2})):
        spec = small_spec({"method.algorithm": {"name": "selc"} | stated, "training.epochs": epochs})
        train(spec, store, folder)
    assert seen == [3, 1, 2]


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "selc", "begin": 1}, "training.epochs": 4} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "selc", "begin": 2, "alpha": 0.7}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 15
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
