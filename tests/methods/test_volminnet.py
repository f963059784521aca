"""VolMinNet: steps of the authors' code, what T can be, its optimiser, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.methods.volminnet import LearntTransition, VolMinNet, corrected, log_volume
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "volminnet.json").read_text())


def close(mine, theirs):
    torch.testing.assert_close(mine, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"init-{case['init']:g}-lambda-{case['lam']:g}")
def test_losses_gradients_and_matrices_are_the_authors(case):
    matrix = LearntTransition(case["classes"], case["init"]).double()
    optimizer = torch.optim.SGD(matrix.parameters(), lr=case["lr"], momentum=case["momentum"])
    close(matrix().detach(), case["T_start"])
    for step in case["steps"]:
        logits = torch.tensor(step["logits"], dtype=torch.float64, requires_grad=True)
        labels = torch.tensor(step["labels"])
        loss = corrected(logits, labels, matrix()).mean() + case["lam"] * log_volume(matrix())
        optimizer.zero_grad()
        loss.backward()
        close(loss.detach(), step["loss"])
        close(logits.grad, step["grad_logits"])
        close(matrix.w.grad, step["grad_w"])
        optimizer.step()
        close(matrix().detach(), step["T_after"])


def test_every_matrix_is_a_transition_matrix_that_favours_its_diagonal():
    matrix = LearntTransition(5, 2.0)
    with torch.no_grad():
        matrix.w.copy_(5 * torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))
    t = matrix().detach()
    assert (t > 0).all()
    assert t.sum(dim=1).tolist() == pytest.approx([1.0] * 5)
    assert t.argmax(dim=1).tolist() == list(range(5))


def test_the_loss_is_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    values = corrected(logits, torch.tensor([0, 0]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    values.sum().backward()
    assert values.tolist() == pytest.approx([0.10536, 1.60944], abs=1e-4)
    assert logits.grad.isfinite().all()


def finished(monkeypatch, store, folder, changes=None, **params):
    kept = []
    details = VolMinNet.details
    monkeypatch.setattr(VolMinNet, "details", lambda self: (kept.append(self), details(self))[1])
    rows = []
    spec = small_spec({"method.algorithm": {"name": "volminnet", **params}} | (changes or {}))
    result = train(spec, store, folder, observe=rows.append)["result"]
    return kept[0], [row for row in rows if row["type"] == "epoch"], result


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_matrix_follows_the_schedule_at_a_rate_of_its_own(optimizer, store, folder, monkeypatch):
    rates = []
    step = VolMinNet.step

    def watched(self, batch):
        rates.append((self.matrix_optimizer.param_groups[0]["lr"], self.optimizer.param_groups[0]["lr"]))
        return step(self, batch)

    monkeypatch.setattr(VolMinNet, "step", watched)
    params = {"matrix_rate": 0.02, "matrix_optimizer": optimizer}
    algorithm, rows, result = finished(monkeypatch, store, folder, **params)
    assert rates[0] == (0.02, 0.1)
    assert [mine for mine, _ in rates] == pytest.approx([0.2 * suites for _, suites in rates])
    assert rows[0]["learning_rate"] == 0.1
    diagonal = algorithm.matrix().detach().diagonal().mean()
    assert result["details"] == {"estimated_noise_rate": pytest.approx(1 - float(diagonal))}


def test_a_step_moves_both_from_where_they_were(store, folder, monkeypatch):
    """One batch, plain descent: T takes its gradient at the first network, the network its own at the first T."""
    seen = []
    step = VolMinNet.step

    def watched(self, batch):
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        start = self.matrix.w.detach().clone().requires_grad_()
        t = LearntTransition(10, 2.0)
        loss = corrected(self.logits(batch.images), batch.labels, torch.func.functional_call(t, {"w": start}, ()))
        loss = loss.mean() + 0.3 * log_volume(torch.func.functional_call(t, {"w": start}, ()))
        gradients = torch.autograd.grad(loss, [start, *self.model.parameters()])
        mean = step(self, batch)
        moved = [self.matrix.w, *self.model.parameters()]
        for new, old, gradient, rate in zip(moved, [start, *before], gradients, [0.5] + [0.1] * 9, strict=False):
            torch.testing.assert_close(new.detach(), old.detach() - rate * gradient, rtol=1e-4, atol=1e-6)
        seen.append((mean, loss.detach()))
        return mean

    monkeypatch.setattr(VolMinNet, "step", watched)
    changes = {"training.optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0}}
    changes |= {"training.batch_size": 300, "training.epochs": 1}
    finished(monkeypatch, store, folder, changes, **{"lambda": 0.3, "matrix_rate": 0.5})
    ((mean, loss),) = seen
    torch.testing.assert_close(mean, loss)


def test_sams_passes_leave_the_matrix_one_gradient(store, folder, monkeypatch):
    counts = []
    step = VolMinNet.step

    def watched(self, batch):
        mean = step(self, batch)
        counts.append(self.matrix.w.grad.clone())
        t = self.matrix().detach()
        assert t.diagonal().min() > 0.4  # a step of 0.01 on a mean over the batch
        return mean

    monkeypatch.setattr(VolMinNet, "step", watched)
    _, _, result = finished(monkeypatch, store, folder, SAM)
    assert len(counts) == 3 * 5
    assert all(gradient.diagonal().abs().max() == 0 for gradient in counts)  # the diagonal's w have no effect
    assert result["gradient_evaluations"] == 2 * 3 * 300


@pytest.mark.parametrize(
    ("changes", "params"),
    [({}, {}), (BATCH_NORM, {}), (SAM, {}), (HOLDOUT, {"matrix_optimizer": "adam"})],
    ids=["mlp", "batch norm", "sam", "hold-out, adam"],
)
def test_resuming_changes_nothing(changes, params, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "volminnet", "matrix_rate": 0.5} | params} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_averages_leave_the_matrix_alone(tmp_path, store, folder):
    averaging = {"kind": "ema", "decay": 0.9, "start": 0.0}
    plain = small_spec({"method.algorithm": {"name": "volminnet"}})
    averaged = small_spec({"method.algorithm": {"name": "volminnet"}, "method.averaging": averaging})
    result = resumed_equals_whole(averaged, tmp_path, store, folder)
    other = train(plain, type(store)(tmp_path / "plain"), folder)["result"]
    assert result["details"] == other["details"]
    assert result["test_accuracy"] != other["test_accuracy"]


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "volminnet", "matrix_rate": 0.1}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.12)
