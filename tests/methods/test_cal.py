"""CAL: the authors' losses, sieve, covariances and schedules; what its stages hand over, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.methods.cal import (
    CovarianceAssistedLearning,
    alpha_at,
    bounded_class_losses,
    class_weights,
    covariances,
    distil,
    joint_shares,
    peered,
)
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "cal.json").read_text())


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def close(mine, theirs, rtol=1e-9):
    torch.testing.assert_close(mine, double(theirs), rtol=rtol, atol=1e-12)


def test_the_sieves_labels_are_the_authors():
    case = REFERENCE["sieve"]
    labels = torch.tensor(case["labels"])
    distilled = distil(double(case["logits"]), labels)
    assert distilled.tolist() == case["distilled"]
    assert set(case["weights"]) == {1.0}
    assert 0 < int((distilled != labels).sum()) < len(labels)


def test_the_first_stages_loss_and_prior_are_the_authors():
    case = REFERENCE["first"]
    root = double(case["shares"]).sqrt()
    close(root / root.sum(), case["prior"])
    logits = double(case["logits"]).requires_grad_()
    loss = peered(logits, torch.tensor(case["labels"]), case["alpha"], double(case["prior"])).mean()
    loss.backward()
    close(loss.detach(), case["loss"])
    close(logits.grad, case["grad_logits"])


def test_the_second_stages_losses_and_gradients_are_the_authors():
    case = REFERENCE["second"]
    distilled, noisy = torch.tensor(case["distilled"]), torch.tensor(case["noisy"])
    shares, transition = joint_shares(distilled, noisy, 4)
    close(shares, case["P"], rtol=1e-6)  # theirs is in single precision
    shares, prior, means = double(case["P"]), double(case["prior"]), torch.zeros(4, 4, dtype=torch.float64)
    assert torch.equal(transition[3], torch.eye(4, dtype=torch.float64)[1])
    for epoch in case["epochs"]:
        losses, images = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        for batch in epoch["batches"]:
            index, logits = torch.tensor(batch["index"]), double(batch["logits"]).requires_grad_()
            labels, d = noisy[index], distilled[index]
            taken_off = class_weights(d, shares) * covariances(logits, labels, d, transition, means)
            loss = (peered(logits, labels, case["alpha"], prior) - taken_off).mean()
            loss.backward()
            close(taken_off.detach().mean(), batch["covariance"])
            close(loss.detach(), batch["loss"])
            close(logits.grad, batch["grad_logits"])
            losses.index_add_(0, d, bounded_class_losses(logits.detach()))
            images.index_add_(0, d, torch.ones(len(d), dtype=torch.float64))
        means = losses / images.unsqueeze(1)
        close(means[1:3], epoch["mean_losses_after"][1:3])  # the others have one noisy label: no covariance at all


def test_the_covariance_is_that_of_label_and_loss_within_the_class():
    """With the class's own means and shares, against the textbook's formula."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    d, labels = (torch.randint(0, 3, (50,), generator=generator) for _ in range(2))
    shares, transition = joint_shares(d, labels, 3)
    losses = bounded_class_losses(logits)
    means = torch.stack([losses[d == k].mean(dim=0) for k in range(3)])
    value = (class_weights(d, shares) * covariances(logits, labels, d, transition, means)).mean()
    by_hand = 0.0
    for k in range(3):
        inside = losses[d == k], torch.nn.functional.one_hot(labels[d == k], 3).double()
        products = (inside[0] * inside[1]).mean(dim=0) - inside[0].mean(dim=0) * inside[1].mean(dim=0)
        by_hand += float(shares[k]) * float(products.sum())
    assert float(value) == pytest.approx(by_hand)


def test_everything_is_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    labels, d = torch.tensor([1, 1]), torch.tensor([0, 1])
    value = peered(logits, labels, 2.0, torch.full((3,), 1 / 3))
    value = value - covariances(logits, labels, d, torch.full((3, 3), 1 / 3), torch.zeros(3, 3))
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


def watched_run(monkeypatch, store, folder, changes=None, **params):
    kept, rows, after = [], [], []
    details, epoch_of = CovarianceAssistedLearning.details, CovarianceAssistedLearning.train_epoch

    def train_epoch(self, epoch, loader):
        mean = epoch_of(self, epoch, loader)
        after.append((float(self.alpha), self.prior.clone(), self.distilled.clone(), self.means.clone()))
        return mean

    monkeypatch.setattr(CovarianceAssistedLearning, "train_epoch", train_epoch)
    monkeypatch.setattr(CovarianceAssistedLearning, "details", lambda self: (kept.append(self), details(self))[1])
    spec = small_spec({"method.algorithm": {"name": "cal", **params}} | (changes or {}))
    result = train(spec, store, folder, observe=rows.append)["result"]
    return kept[0], [row for row in rows if row["type"] == "epoch"], after, result


def test_the_schedules_of_alpha_are_the_authors():
    assert [alpha_at(epoch, 10, 30, 2.0) for epoch in range(100)] == pytest.approx(REFERENCE["alpha_first"])
    assert [alpha_at(epoch, 10, 30, 1.0) for epoch in range(100)] == pytest.approx(REFERENCE["alpha_second"])
    assert [alpha_at(epoch, 1, 0, 2.0) for epoch in range(3)] == [0.0, 2.0, 2.0]


def test_durations_are_the_authors_shares_and_alpha_slows_the_learning(store, folder, monkeypatch):
    changes = {"training.epochs": 10, "training.schedule": {"name": "step", "every": 6, "gamma": 0.1}}
    _, rows, after, _ = watched_run(monkeypatch, store, folder, changes)
    assert [row["phase"] for row in rows] == ["sieve"] * 7 + ["train"] * 10
    alphas = [alpha for alpha, *_ in after]
    expected = [alpha_at(epoch, 1, 3, 2.0) for epoch in range(7)] + [alpha_at(epoch, 1, 3, 1.0) for epoch in range(10)]
    assert alphas == pytest.approx(expected, rel=1e-6, abs=1e-7)
    rates = [0.1 * (0.1 if epoch >= 6 else 1.0) for epoch in [*range(7), *range(10)]]
    slowed = [rate / (1 + alpha) for rate, alpha in zip(rates, alphas, strict=True)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(slowed, rel=1e-6)


def test_the_second_stage_starts_anew_from_the_firsts_labels(store, folder, monkeypatch):
    params = {"sieve_epochs": 4, "prior_factor": 10.0}
    changes = {"dataset.validation": 0.2}
    algorithm, rows, after, result = watched_run(monkeypatch, store, folder, changes, **params)
    task = algorithm.task
    assert [row["phase"] for row in rows] == ["sieve"] * 4 + ["train"] * 3
    assert len(task.models) == len(task.optimizers) == 1
    distilled = after[3][2]
    assert all(torch.equal(distilled, later[2]) for later in after[4:])
    assert torch.equal(distilled[task.holdout], task.labels[task.holdout])  # nobody looked at them
    observed = torch.bincount(task.labels[task.index], minlength=10) / len(task.index)
    torch.testing.assert_close(after[0][1], 10 * observed.sqrt() / observed.sqrt().sum())
    torch.testing.assert_close(after[4][1], 10 * observed)
    shares, transition = joint_shares(distilled[task.index], task.labels[task.index], 10)
    torch.testing.assert_close(algorithm.shares, shares.float())
    torch.testing.assert_close(algorithm.transition, transition.float())
    assert all(float(means.abs().sum()) == 0 for *_, means in after[:4])
    assert all(float(means.sum()) > 0 for *_, means in after[4:])
    wrong = float((distilled != task.labels)[task.index].double().mean())
    assert result["details"] == {"estimated_noise_rate": pytest.approx(wrong)}
    assert result["gradient_evaluations"] == 7 * 240


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_in_either_stage_changes_nothing(changes, tmp_path, store, folder):
    algorithm = {"name": "cal", "sieve_epochs": 2, "begin": 0, "rise": 2}
    spec = small_spec({"training.epochs": 3} | changes | {"method.algorithm": algorithm})
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain, result = (memorising({"name": name}, tmp_path, folder) for name in ("erm", "cal"))
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
