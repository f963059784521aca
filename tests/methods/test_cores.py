"""CORES: the authors' losses, sieve and schedule; when it sieves, its prior, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.methods import cores
from noisybench.methods.cores import Cores, beta_at, class_losses, regularised, sieve_metric
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "cores.json").read_text())


@pytest.mark.parametrize(
    "case", REFERENCE["cases"], ids=lambda case: f"{case['epoch']}-{'prior' if case['noise_prior'] else 'uniform'}"
)
def test_loss_gradient_and_sieve_are_the_authors(case):
    batch, expected = REFERENCE["batches"][case["batch"]], case["float64"]
    logits = torch.tensor(batch["logits"], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(batch["labels"])
    prior = torch.tensor(case["noise_prior"] or [0.25] * 4, dtype=torch.float64)
    metric = sieve_metric(logits.detach(), labels)
    assert metric.tolist() == pytest.approx(expected["sieve_metric"], rel=1e-9)
    keep = (metric <= 0) | (case["epoch"] <= 30)
    assert keep.int().tolist() == expected["keep"]
    beta = beta_at(case["epoch"], 10, 30, 2.0)
    loss = (keep * regularised(logits, labels, beta, prior)).sum() / keep.sum()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(
        gradient, torch.tensor(expected["grad_logits"], dtype=torch.float64), rtol=1e-9, atol=1e-12
    )


def test_the_schedule_of_beta_is_the_authors():
    assert [beta_at(epoch, 10, 30, 2.0) for epoch in range(100)] == pytest.approx(REFERENCE["beta_schedule"])
    assert [beta_at(epoch, 0, 1, 2.0) for epoch in range(2)] == [2.0, 2.0]


def test_confidence_is_rewarded_within_bounds():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    values = class_losses(logits)
    assert values[0].tolist() == pytest.approx([0.0, 18.420681, 18.420681], abs=1e-5)
    values.sum().backward()
    assert logits.grad.isfinite().all()


def test_it_sieves_after_the_named_epoch_and_learns_from_what_is_left(store, folder, monkeypatch):
    shares, priors = [], []
    whole = Cores.train_epoch

    def watched(self, epoch, loader):
        mean = whole(self, epoch, loader)
        shares.append(float(self.kept.sum()) / 300)
        priors.append(self.prior.clone())
        torch.testing.assert_close(self.prior, self.kept / self.kept.sum())
        return mean

    monkeypatch.setattr(Cores, "train_epoch", watched)
    algorithm = {"name": "cores", "begin": 1, "rise": 2, "sieve_after": 1}
    result = train(small_spec({"method.algorithm": algorithm, "training.epochs": 4}), store, folder)["result"]
    assert shares[:2] == [1.0, 1.0]
    assert 0.3 < shares[2] < 1
    assert result["details"] == {"kept_share": pytest.approx(shares[-1])}
    assert not torch.equal(priors[0], priors[3])


def test_the_uniform_prior_stays(store, folder, monkeypatch):
    seen = []
    monkeypatch.setattr(Cores, "details", lambda self: (seen.append(self.prior), {})[1])
    algorithm = {"name": "cores", "begin": 0, "rise": 1, "sieve_after": 0, "prior": "uniform"}
    train(small_spec({"method.algorithm": algorithm}), store, folder)
    assert seen[0].tolist() == pytest.approx([0.1] * 10)


def test_the_learning_rate_is_divided_by_one_plus_beta(store, folder):
    rows = []
    algorithm = {"name": "cores", "begin": 1, "rise": 2}
    changes = {"training.epochs": 4, "training.schedule": {"name": "constant"}, "method.algorithm": algorithm}
    train(small_spec(changes), store, folder, observe=rows.append)
    rates = [row["learning_rate"] for row in rows if row["type"] == "epoch"]
    assert rates == pytest.approx([0.1, 0.1, 0.1 / 3, 0.1 / 3])


def test_batches_with_nothing_kept_change_nothing(store, folder, monkeypatch):
    monkeypatch.setattr(cores, "sieve_metric", lambda logits, labels: torch.ones(len(labels)))
    rows = []
    algorithm = {"name": "cores", "sieve_after": 0}
    changes = {"training.optimizer.weight_decay": 0.0, "training.optimizer.momentum": 0.0}
    spec = small_spec({"method.algorithm": algorithm} | changes)
    result = train(spec, store, folder, observe=rows.append)["result"]
    losses = [row["test_loss"] for row in rows if row["type"] == "epoch"]
    assert losses[0] == losses[1] == losses[2]
    assert result["details"] == {"kept_share": 0.0}


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    algorithm = {"name": "cores", "begin": 1, "rise": 2, "sieve_after": 1}
    spec = small_spec({"method.algorithm": algorithm, "training.epochs": 4} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "cores", "begin": 3, "rise": 8, "sieve_after": 8}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 15
    assert result["details"]["kept_share"] == pytest.approx(0.6, abs=0.1)
