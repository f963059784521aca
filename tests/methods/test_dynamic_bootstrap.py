"""M-DYR-H and M-DYR-S: the authors' loss, the stages, and runs on digits."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from small_runs import small_spec, stopped_after
from torch.nn import functional

from noisybench.errors import InputError, ParameterError
from noisybench.methods import dynamic_bootstrap
from noisybench.methods.dynamic_bootstrap import mixed_bootstrapped, uniform_divergence
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "arazo_bmm.json").read_text())
INPUTS = REFERENCE["inputs"]


def given(key):
    return torch.tensor(INPUTS[key], dtype=torch.float64)


def spec_of(changes=None, **params):
    method = {"name": "dynamic_bootstrap", **params}
    return small_spec({"method.algorithm": method, "training.epochs": 4, **(changes or {})})


def test_the_hard_loss_and_its_gradient_are_the_authors():
    case = REFERENCE["m_dyr_h"]
    logits = given("mixed_logits").requires_grad_()
    guesses = functional.one_hot(given("unmixed_logits").argmax(dim=1), 10).double()
    labels, partner = torch.tensor(INPUTS["labels"]), torch.tensor(INPUTS["permutation"])
    loss = mixed_bootstrapped(logits, labels, guesses, given("B"), partner, case["lam"]).mean()
    reg = uniform_divergence(logits)
    (gradient,) = torch.autograd.grad(loss + reg, logits)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    assert reg.item() == pytest.approx(case["reg"], rel=1e-9)
    expected = torch.tensor(case["grad_of_loss_plus_reg"], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_sure_labels_give_mixup_and_wrong_ones_give_the_guesses():
    logits, labels, partner = given("mixed_logits"), torch.tensor(INPUTS["labels"]), torch.tensor(INPUTS["permutation"])
    guesses = given("unmixed_logits").softmax(dim=1)
    none, all_ = torch.zeros(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
    mixup = 0.3 * functional.cross_entropy(logits, labels, reduction="none")
    mixup += 0.7 * functional.cross_entropy(logits, labels[partner], reduction="none")
    torch.testing.assert_close(mixed_bootstrapped(logits, labels, guesses, none, partner, 0.3), mixup)
    soft = 0.3 * functional.cross_entropy(logits, guesses, reduction="none")
    soft += 0.7 * functional.cross_entropy(logits, guesses[partner], reduction="none")
    torch.testing.assert_close(mixed_bootstrapped(logits, labels, guesses, all_, partner, 0.3), soft)
    rows = torch.tensor([2, 5])
    parts = mixed_bootstrapped(logits[rows], labels, guesses, given("B"), partner, 0.3, rows)
    torch.testing.assert_close(parts, mixed_bootstrapped(logits, labels, guesses, given("B"), partner, 0.3)[rows])


def test_the_regularisation_is_zero_at_balance_and_finite_when_a_class_is_lost():
    assert float(uniform_divergence(torch.eye(4) * 9)) == pytest.approx(0, abs=1e-6)
    lost = torch.tensor([[500.0, 0.0], [400.0, 0.0]], requires_grad=True)
    value = uniform_divergence(lost)
    value.backward()
    assert math.isfinite(value.item())
    assert lost.grad.isfinite().all()


def test_the_warm_up_is_mixup_and_nothing_else(store, folder):
    plain = small_spec({"method.mixup": {"alpha": 32.0}, "training.epochs": 4})
    one = train(plain, store, folder)
    seen = []
    guided = spec_of({}, warmup=3)
    train(guided, store, folder, observe=seen.append)
    mine = [event["train_loss"] for event in seen if event["type"] == "epoch"]
    theirs = []
    train(plain, type(store)(store.root.parent / "again"), folder, observe=theirs.append)
    theirs = [event["train_loss"] for event in theirs if event["type"] == "epoch"]
    assert mine[:3] == theirs[:3]
    assert mine[3] != theirs[3]
    assert one["result"]["gradient_evaluations"] == 4 * 300


def test_the_default_warm_up_is_the_authors_share(store, folder):
    class Spy(dynamic_bootstrap.DynamicBootstrap):
        def __init__(self):
            self.epochs = 300

    spy = Spy()
    assert spy.stage(None, 105) == 105
    assert spy.stage(7, 105) == 7
    spy.epochs = 100
    assert spy.stage(None, 105) == 35
    spy.epochs = 1
    assert spy.stage(None, 5) == 1


@pytest.mark.parametrize("variant", ["hard", "soft"])
def test_a_run_stopped_in_any_stage_ends_the_same(variant, tmp_path, store, folder):
    spec = spec_of({"dataset.validation": 0.1, "model": {"name": "small_cnn"}}, variant=variant, warmup=2)
    whole = train(spec, store, folder)
    for epochs in range(1, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


@pytest.mark.parametrize("sam", [{}, {"m": 16}])
def test_it_works_with_sam(sam, store, folder):
    optimizer = {"name": "sam", "rho": 0.05, "base": {"name": "sgd", "lr": 0.1}, **sam}
    record = train(spec_of({"training.optimizer": optimizer}, warmup=1), store, folder)
    assert record["result"]["status"] == "finished"
    assert record["result"]["gradient_evaluations"] == 2 * 4 * 300


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_the_noise_rate_is_estimated_from_the_losses(rate, store, folder):
    changes = {"training.epochs": 40, "noise.rate": rate, "dataset.train_subset": None, "model.width": 256}
    details = train(spec_of(changes), store, folder)["result"]["details"]
    assert details["estimated_noise_rate"] == pytest.approx(rate, abs=0.2)


def test_hold_out_labels_and_pixels_do_not_matter(store, folder):
    """The mixture is fitted to the training part alone."""
    seen = []

    def spy(losses, rounds=10):
        seen.append(len(losses))
        return fit(losses, rounds)

    fit = dynamic_bootstrap.LossModel.fit
    dynamic_bootstrap.LossModel.fit = spy
    try:
        train(spec_of({"dataset.validation": 0.2}, warmup=2), store, folder)
    finally:
        dynamic_bootstrap.LossModel.fit = fit
    assert len(seen) == 3
    assert set(seen) == {240}


def test_what_it_cannot_use_is_refused(store, folder):
    with pytest.raises(InputError, match=r"method\.mixup"):
        train(spec_of({"method.mixup": {"alpha": 1.0}}), store, folder)
    with pytest.raises(InputError, match="cross entropy"):
        train(spec_of({"method.loss": {"name": "gce", "q": 0.7}}), store, folder)
    with pytest.raises(ParameterError, match="warmup"):
        train(spec_of({}, warmup=4), store, folder)


@pytest.mark.parametrize("variant", ["hard", "soft"])
def test_it_beats_plain_training_under_noise(variant, store, folder):
    changes = {"training.epochs": 30, "dataset.train_subset": 1000, "dataset.test_subset": None, "model.width": 256}
    plain = train(small_spec(changes), store, folder)["result"]
    guided = train(spec_of(changes, variant=variant), store, folder)["result"]
    assert guided["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 10
    assert guided["final"]["memorised"] < plain["final"]["memorised"] / 3
