"""T-Revision: the authors' weighted losses, the three stages and what each starts from, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import cross_entropy

from noisybench.methods.estimated_correction import estimate_transition
from noisybench.methods.t_revision import TRevision, importance, revised, reweighted
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "t_revision.json").read_text())
SMALL_STEPS = {"training.optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0}}


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"K-{len(case['T'])}")
def test_losses_and_gradients_are_the_authors(case):
    t, correction, logits = tensors(case["T"], case["correction"], case["logits"])
    labels = torch.tensor(case["labels"])
    logits.requires_grad_()
    correction.requires_grad_()
    for stage, loss in (
        ("reweight", reweighted(logits, labels, t).mean()),
        ("revision", revised(logits, labels, t + correction).mean()),
    ):
        expected = case[stage]
        assert loss.item() == pytest.approx(expected["loss"], rel=1e-9)
        gradients = torch.autograd.grad(loss, [logits, correction], allow_unused=True)
        theirs = tensors(expected["grad_logits"], expected.get("grad_correction", 0.0))
        torch.testing.assert_close(gradients[0], theirs[0], rtol=1e-9, atol=1e-12)
        if stage == "revision":
            torch.testing.assert_close(gradients[1], theirs[1], rtol=1e-9, atol=1e-12)


def test_the_weight_is_the_ratio_of_the_two_probabilities():
    logits = torch.tensor([[0.8, 0.2], [0.8, 0.2]]).log()
    t = torch.tensor([[0.7, 0.3], [0.4, 0.6]])
    assert importance(logits, torch.tensor([0, 1]), t).tolist() == pytest.approx([0.8 / 0.64, 0.2 / 0.36])
    assert importance(logits, torch.tensor([0, 1]), torch.eye(2)).tolist() == pytest.approx([1.0, 1.0])


def test_impossible_labels_have_finite_losses():
    logits = torch.tensor([[500.0, -500.0]], requires_grad=True)
    t = torch.eye(2, requires_grad=True)
    value = revised(logits, torch.tensor([1]), t)
    value.sum().backward()
    assert value.item() == 0.0
    assert logits.grad.isfinite().all()
    assert t.grad.isfinite().all()


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def watched_run(monkeypatch, store, folder, changes=None, **params):
    """The algorithm, its weights after every epoch and at the start of every phase, the epochs' rows, the result."""
    kept, after, starts, rows = [], [], [], []
    details, begin, epoch_of = TRevision.details, TRevision.begin_phase, TRevision.train_epoch

    def begin_phase(self, number, phase):
        begin(self, number, phase)
        starts.append(copied(self.model))

    def train_epoch(self, epoch, loader):
        mean = epoch_of(self, epoch, loader)
        after.append(copied(self.model))
        return mean

    monkeypatch.setattr(TRevision, "begin_phase", begin_phase)
    monkeypatch.setattr(TRevision, "train_epoch", train_epoch)
    monkeypatch.setattr(TRevision, "details", lambda self: (kept.append(self), details(self))[1])
    algorithm = {"name": "t_revision", **params}
    spec = small_spec({"method.algorithm": algorithm} | (changes or {}))
    result = train(spec, store, folder, observe=rows.append)["result"]
    return kept[0], after, starts, [row for row in rows if row["type"] == "epoch"], result


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def noisy_probabilities(algorithm, weights, index):
    algorithm.model.load_state_dict(weights)
    task = algorithm.task
    logits = task.evaluate(lambda x: task.forward(algorithm.model, x), task.images[index])
    return torch.softmax(logits, dim=1)


def test_without_a_hold_out_each_stage_goes_on_from_the_last_epoch(store, folder, monkeypatch):
    changes = {"training.epochs": 4}
    algorithm, after, starts, rows, result = watched_run(
        monkeypatch, store, folder, changes, estimate_epochs=2, revision_epochs=3
    )
    assert [row["phase"] for row in rows] == ["estimate"] * 2 + ["reweight"] * 4 + ["revise"] * 3
    assert [row["learning_rate"] for row in rows[-3:]] == pytest.approx([0.001] * 3)  # 0.1 times revision_factor
    assert same(starts[1], after[1])
    assert same(starts[2], after[5])
    assert result["details"]["estimated_in_epoch"] == 2
    assert result["details"]["reweighted_until_epoch"] == 6
    assert result["gradient_evaluations"] == 9 * 300
    expected = estimate_transition(noisy_probabilities(algorithm, after[1], algorithm.task.index).double())
    torch.testing.assert_close(algorithm.transition, expected.float(), rtol=1e-4, atol=1e-5)


def test_with_a_hold_out_each_stage_goes_on_from_its_best_epoch_there(store, folder, monkeypatch):
    changes = {"dataset.validation": 0.2, "training.epochs": 8, "model.width": 256, "training.optimizer.lr": 0.2}
    algorithm, after, starts, _, result = watched_run(
        monkeypatch, store, folder, changes, estimate_epochs=10, revision_epochs=1
    )
    task = algorithm.task
    labels = task.labels[task.holdout]
    accuracies = []
    for epoch, weights in enumerate(after[:-1]):
        p = noisy_probabilities(algorithm, weights, task.holdout)
        p = p if epoch < 10 else p @ algorithm.transition
        accuracies.append(float((p.argmax(dim=1) == labels).double().mean()))
    first = max(range(10), key=lambda epoch: accuracies[epoch])
    second = max(range(10, 18), key=lambda epoch: accuracies[epoch])
    assert first < 9  # neither is the last of its stage, so that the choice shows
    assert second < 17
    assert same(starts[1], after[first])
    assert same(starts[2], after[second])
    assert result["details"]["estimated_in_epoch"] == first + 1
    assert result["details"]["reweighted_until_epoch"] == second + 1


def test_the_revision_starts_at_zero_and_moves_only_in_its_stage(store, folder, monkeypatch):
    seen = []
    step = TRevision.step

    def watched(self, batch):
        mean = step(self, batch)
        seen.append((self.phase_name, float(self.revision[0].detach().abs().max())))
        return mean

    monkeypatch.setattr(TRevision, "step", watched)
    *_, result = watched_run(monkeypatch, store, folder, estimate_epochs=1, revision_rate=0.001, revision_epochs=1)
    assert all(largest == 0 for phase, largest in seen if phase != "revise")
    moved = [largest for phase, largest in seen if phase == "revise"]
    assert moved[0] == pytest.approx(0.001, rel=1e-3)  # Adam's first step has the size of its rate
    assert moved[-1] == pytest.approx(0.005, rel=0.1)
    assert result["details"]["largest_revision"] == pytest.approx(moved[-1])


def test_a_step_of_revision_moves_both_from_where_they_were(store, folder, monkeypatch):
    """One batch, plain descent: the network takes its gradient at the first D, D its own at the first network."""
    seen = []
    step = TRevision.step

    def watched(self, batch):
        if self.phase_name != "revise":
            return step(self, batch)
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        d = torch.full((10, 10), 0.01, requires_grad=True)
        with torch.no_grad():
            self.revision[0].fill_(0.01)
        loss = revised(self.logits(batch.images), batch.labels, self.transition + d).mean()
        of_d, *gradients = torch.autograd.grad(loss, [d, *self.model.parameters()])
        mean = step(self, batch)
        torch.testing.assert_close(self.revision[0].grad, of_d)
        for new, old, gradient in zip(self.model.parameters(), before, gradients, strict=True):
            torch.testing.assert_close(new.detach(), old - 0.1 * gradient, rtol=1e-4, atol=1e-6)
        seen.append((mean, loss.detach(), cross_entropy(self.logits(batch.images), batch.labels)))
        return mean

    monkeypatch.setattr(TRevision, "step", watched)
    params = {"estimate_epochs": 1, "revision_epochs": 1, "revision_factor": 1.0}
    watched_run(monkeypatch, store, folder, SMALL_STEPS | {"training.batch_size": 300}, **params)
    ((mean, loss, _),) = seen
    torch.testing.assert_close(mean, loss)


@pytest.mark.parametrize(
    "changes",
    [{}, BATCH_NORM | {"dataset.validation": 0.1}, SAM, HOLDOUT],
    ids=["mlp", "batch norm, hold-out", "sam", "hold-out"],
)
def test_resuming_in_any_stage_changes_nothing(changes, tmp_path, store, folder):
    algorithm = {"name": "t_revision", "estimate_epochs": 2, "revision_rate": 0.001, "revision_epochs": 2}
    resumed_equals_whole(
        small_spec({"training.epochs": 2} | changes | {"method.algorithm": algorithm}), tmp_path, store, folder
    )


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder, dataset__validation=0.15)
    algorithm = {"name": "t_revision", "revision_epochs": 5}
    result = memorising(algorithm, tmp_path, folder, dataset__validation=0.15)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.15)
