"""Truncated GCE: loss and weights of the peer's code, when weights are set, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.losses import build_loss
from noisybench.methods.truncated_gce import TruncatedGCE, kept, truncation
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses_truncated_gce.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"k-{case['hyper']['k']}")
def test_loss_gradient_and_new_weights_are_the_peers(case):
    batch = REFERENCE["batches"][case["batch"]]
    logits = torch.tensor(batch["logits"], dtype=torch.float64, requires_grad=True)
    labels, q, k = torch.tensor(batch["labels"]), case["hyper"]["q"], case["hyper"]["k"]
    weights = torch.tensor(case["weight"], dtype=torch.float64)[case["indexes"]]
    losses = weights * (
        build_loss("gce", q=q)(logits, labels) - float(np.float32(truncation(k, q)))
    )  # single precision there
    expected = case["float64"]
    torch.testing.assert_close(
        losses.detach(), torch.tensor(expected["per_sample_loss"], dtype=torch.float64), rtol=1e-9, atol=1e-12
    )
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    torch.testing.assert_close(
        gradient, torch.tensor(expected["grad_logits"], dtype=torch.float64), rtol=1e-9, atol=1e-12
    )
    assert kept(logits.detach(), labels, k).double().tolist() == expected["weight_after_update_at_indexes"]


def test_a_probability_of_exactly_k_is_not_kept():
    logits = torch.zeros(1, 2, dtype=torch.float64)
    assert not kept(logits, torch.tensor([0]), 0.5).item()
    assert kept(logits + torch.tensor([1e-9, 0.0]), torch.tensor([0]), 0.5).item()


def test_weights_are_set_before_the_named_epochs(store, folder, monkeypatch):
    changed, epochs = [], []
    begin = TruncatedGCE.begin_epoch

    def watched(self, epoch, loader):
        before = self.weights.clone()
        self.weights.fill_(-1)
        begin(self, epoch, loader)
        epochs.append(epoch + 1)
        if (self.weights == -1).all():
            self.weights.copy_(before)
        else:
            changed.append(epoch + 1)
            logits = self.task.predict_train(lambda x: self.task.forward(self.model, x))
            p = torch.softmax(logits.double(), dim=1)[torch.arange(len(logits)), self.task.labels]
            assert torch.equal(self.weights == 1, p > 0.5)

    monkeypatch.setattr(TruncatedGCE, "begin_epoch", watched)
    algorithm = {"name": "truncated_gce", "start_prune": 4, "every": 3}
    train(small_spec({"method.algorithm": algorithm, "training.epochs": 9}), store, folder)
    assert epochs == list(range(1, 10))
    assert changed == [4, 7]


def test_a_sample_left_out_changes_nothing(store, folder, monkeypatch):
    monkeypatch.setattr("noisybench.methods.truncated_gce.kept", lambda z, y, k: torch.zeros(len(y), dtype=torch.bool))
    changes = {"training.optimizer.weight_decay": 0.0, "training.optimizer.momentum": 0.0}
    rows = []
    algorithm = {"name": "truncated_gce", "start_prune": 2, "every": 1}
    spec = small_spec({"method.algorithm": algorithm} | changes)
    result = train(spec, store, folder, observe=lambda event: rows.append(event))["result"]
    losses = [row["test_loss"] for row in rows if row["type"] == "epoch"]
    assert losses[0] == losses[1] == losses[2]
    assert result["status"] == "finished"
    assert result["details"] == {"kept_share": 0.0}


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    algorithm = {"name": "truncated_gce", "start_prune": 2, "every": 2}
    spec = small_spec({"method.algorithm": algorithm, "training.epochs": 4} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "truncated_gce", "start_prune": 10, "every": 5}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
    assert result["details"]["kept_share"] == pytest.approx(0.6, abs=0.1)
