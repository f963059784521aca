"""Peer loss: published code's values, by hand, bounds, where peers come from, its schedule, resuming, learning."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.errors import ParameterError
from noisybench.methods.peer_loss import PeerLoss, bounded_cross_entropy, peer_loss
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "peer_loss.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"alpha-{case['alpha']:g}")
def test_values_and_gradients_are_those_of_the_multi_class_code(case):
    logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
    loss = peer_loss(logits, torch.tensor(case["labels"]), torch.tensor(case["peers"]), case["alpha"]).mean()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    torch.testing.assert_close(gradient, torch.tensor(case["grad_logits"], dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_values_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64))
    expected = -math.log(0.5 + 1e-5) + 2 * math.log(0.25 + 1e-5)
    assert peer_loss(logits, torch.tensor([0]), torch.tensor([2]), 2.0).item() == pytest.approx(expected, rel=1e-12)


def test_it_is_bounded_with_a_finite_gradient():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    assert bounded_cross_entropy(logits, torch.tensor([1])).item() == pytest.approx(-math.log(1e-5), rel=1e-6)
    value = peer_loss(logits, torch.tensor([0]), torch.tensor([1]), 1.0)
    value.sum().backward()
    assert value.item() == pytest.approx(math.log(1e-5), rel=1e-4)
    assert logits.grad.isfinite().all()


def test_a_constant_prediction_gains_nothing_over_all_peers():
    """With alpha 1 and peers of the labels' own distribution a prediction that ignores the image scores 0."""
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[3.0, -1.0]], dtype=torch.float64).expand(4, 2)
    mean = sum(peer_loss(logits, labels, peer.expand(4), 1.0).mean() for peer in labels) / 4
    assert mean.item() == pytest.approx(0.0, abs=1e-12)


def test_peers_are_noisy_labels_of_the_training_part(store, folder, monkeypatch):
    drawn, labels = [], []
    begin = PeerLoss.begin_epoch

    def watched(self, epoch, loader):
        begin(self, epoch, loader)
        peers = list(self._peers)
        assert [len(part) for part in peers] == loader.sizes
        drawn.append(torch.cat(peers))
        labels.append(self.task.labels[self.task.index])
        self._peers = iter(peers)

    monkeypatch.setattr(PeerLoss, "begin_epoch", watched)
    changes = {"dataset.validation": 0.2, "dataset.train_subset": 1000, "training.epochs": 10}
    train(small_spec({"method.algorithm": {"name": "peer_loss"}} | changes), store, folder)
    assert not torch.equal(drawn[0], drawn[1])
    shares = torch.bincount(torch.cat(drawn), minlength=10) / 8000
    torch.testing.assert_close(shares, torch.bincount(labels[0], minlength=10) / 800, rtol=0, atol=0.015)


def test_alpha_and_the_learning_rate_follow_the_milestones(store, folder):
    rows = []
    algorithm = {"name": "peer_loss", "milestones": [1, 3], "alphas": [0.0, 2.0]}
    changes = {"training.epochs": 5, "training.schedule": {"name": "constant"}, "method.algorithm": algorithm}
    train(small_spec(changes), store, folder, observe=rows.append)
    rates = [row["learning_rate"] for row in rows if row["type"] == "epoch"]
    assert rates == pytest.approx([0.1, 0.1, 0.1 / 2, 0.1 / 3, 0.1 / 3])


@pytest.mark.parametrize(
    ("params", "key"),
    [({"milestones": [1, 2, 3]}, "alphas"), ({"milestones": [5, 2]}, "milestones"), ({"alphas": []}, "alphas")],
)
def test_a_broken_schedule_is_refused(params, key, store, folder):
    with pytest.raises(ParameterError) as error:
        train(small_spec({"method.algorithm": {"name": "peer_loss", **params}}), store, folder)
    assert error.value.key == key


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "peer_loss", "milestones": [0, 2]}} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "peer_loss", "milestones": [3, 10]}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 2
    assert result["final"]["memorised"] < plain["final"]["memorised"] / 2
