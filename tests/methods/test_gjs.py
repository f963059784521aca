"""GJS: the authors' numbers, identities, limits, two views, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import one_hot

from noisybench.losses import build_loss
from noisybench.methods.gjs import GeneralisedJensenShannon, generalised_jensen_shannon
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses_gjs.json").read_text())
CASES = [case for case in REFERENCE["cases"] if case["loss"] != "GJS-no-consistency"]  # its mean sums to 1 - pi there


def double(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case['loss']}-{case['batch']}-{case['hyper']['weights'][0]}"
)
def test_values_and_gradients_are_the_authors(case):
    batch, expected = REFERENCE["batches"][case["batch"]], case["float64"]
    views = [double(batch[key]).requires_grad_() for key in ("logits", "logits2")[: case["views"]]]
    losses = generalised_jensen_shannon(
        views, torch.tensor(batch["labels"]), case["hyper"]["weights"][0], scaled="scaled" in case["loss"]
    )
    if case["batch"] == "extreme":  # their clamp at 1e-7 shows, and has no gradient
        torch.testing.assert_close(losses.detach(), double(expected["per_sample_loss"]), rtol=0, atol=2e-5)
        return
    exact = case["hyper"]["weights"][0] == 0.5  # pi times a label is taken in single precision there
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if exact else {"rtol": 1e-6, "atol": 1e-8}
    torch.testing.assert_close(losses.detach(), double(expected["per_sample_loss"]), **tolerance)
    gradients = torch.autograd.grad(losses.mean(), views)
    for key, gradient in zip(("grad_logits", "grad_logits2"), gradients, strict=False):
        torch.testing.assert_close(gradient, double(expected[key]), **tolerance)


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2)]


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_it_is_the_entropy_of_the_mean_less_the_mean_entropy(views, pi):
    p = [one_hot(LABELS, 5).double(), *(torch.softmax(view, dim=1) for view in views)]
    weights = [pi, (1 - pi) / 2, (1 - pi) / 2]

    def entropy(q):
        return -torch.special.xlogy(q, q).sum(dim=1)

    expected = entropy(sum(w * q for w, q in zip(weights, p, strict=True)))
    expected = expected - sum(w * entropy(q) for w, q in zip(weights, p, strict=True))
    torch.testing.assert_close(generalised_jensen_shannon(views, LABELS, pi, scaled=False), expected)


@pytest.mark.parametrize("scaled", [True, False])
def test_one_view_or_two_equal_ones_are_the_js_loss(views, scaled):
    js = build_loss("js", pi=0.3, scaled=scaled)(views[0], LABELS)
    for same in ([views[0]], [views[0], views[0]]):
        torch.testing.assert_close(generalised_jensen_shannon(same, LABELS, 0.3, scaled=scaled), js)


def test_without_consistency_it_is_the_js_loss_of_the_mean_prediction(views):
    mean = (torch.softmax(views[0], dim=1) + torch.softmax(views[1], dim=1)) / 2
    torch.testing.assert_close(
        generalised_jensen_shannon(views, LABELS, 0.3, consistency=False), build_loss("js", pi=0.3)(mean.log(), LABELS)
    )
    assert (generalised_jensen_shannon(views, LABELS, 0.3) > build_loss("js", pi=0.3)(mean.log(), LABELS)).all()


def test_value_and_gradient_are_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    other = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    losses = generalised_jensen_shannon([logits, other], torch.tensor([0, 2]), 0.5)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad.isfinite().all()
    assert other.grad.isfinite().all()


def test_a_step_gets_two_augmentations_of_every_image(store, folder, monkeypatch):
    seen = []
    step = GeneralisedJensenShannon.step
    monkeypatch.setattr(
        GeneralisedJensenShannon, "step", lambda self, batch: (seen.append(batch.images), step(self, batch))[1]
    )
    changes = {"method.algorithm": {"name": "gjs"}, "training.epochs": 1, "training.augment": ["crop"]}
    train(small_spec(changes), store, folder)
    assert all(len(views) == 2 and views[0].shape == views[1].shape for views in seen)
    assert not torch.equal(*seen[0])


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "gjs"}, "training.augment": ["crop"]} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    shift = [{"crop": {"padding": 1}}]
    result = memorising({"name": "gjs"}, tmp_path, folder, training__augment=shift)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
