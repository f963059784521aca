"""MentorMix: partners, shares, weights, the average that answers, and runs on digits."""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench.errors import InputError
from noisybench.methods.mentormix import MentorMix, draw_partners, own_shares
from noisybench.train.trainer import train

LARGER = {"training.epochs": 30, "dataset.train_subset": 1000, "dataset.test_subset": None, "model.width": 256}


def spec_of(changes=None, **params):
    return small_spec({"method.algorithm": {"name": "mentormix", **params}, "training.epochs": 4, **(changes or {})})


def test_partners_are_drawn_by_the_softmax_of_the_weights():
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])
    uniforms = (torch.arange(20000) + 0.5) / 20000
    edges = weights.softmax(dim=0)
    drawn = torch.cat([draw_partners(weights, part) for part in uniforms.split(5)])
    shares = torch.bincount(drawn, minlength=5) / len(drawn)
    torch.testing.assert_close(shares, edges, rtol=0, atol=2e-3)
    assert float(shares[0] / shares[1]) == pytest.approx(math.e, rel=0.02)
    extremes = draw_partners(torch.zeros(3), torch.tensor([0.0, 1 - 2**-24, 0.5]))
    assert extremes.tolist() == [0, 2, 1]


def test_doubtful_samples_give_way_to_their_partners():
    weights = torch.tensor([1.0, 1.0, 0.5, 0.49, 0.0])
    betas = torch.tensor([0.3, 0.7, 0.2, 0.2, 0.9])
    assert own_shares(weights, betas).tolist() == pytest.approx([0.7, 0.7, 0.8, 0.2, 0.1])


def spied(monkeypatch):
    seen = []
    weigh = MentorMix.weigh

    def spy(self, difference, percent):
        weights = weigh(self, difference, percent)
        seen.append((percent, difference, weights))
        return weights

    monkeypatch.setattr(MentorMix, "weigh", spy)
    return seen


@pytest.mark.parametrize("second", [True, False])
def test_weights_are_one_in_the_burn_in_and_thresholds_afterwards(second, store, folder, monkeypatch):
    seen = spied(monkeypatch)
    train(spec_of({"training.epochs": 10}, second_reweight=second, burn_in=30), store, folder)
    percents = [percent for percent, _, _ in seen]
    expected = list(range(0, 100, 2))  # 50 steps
    assert percents == (sorted(expected * 2) if second else expected)
    for percent, difference, weights in seen:
        assert torch.equal(weights, torch.ones_like(weights) if percent < 29 else (difference < 0).float())


def test_the_two_thresholds_are_apart(store, folder, monkeypatch):
    thresholds = []
    step = MentorMix.step

    def spy(self, batch):
        loss = step(self, batch)
        thresholds.append((float(self.threshold), float(self.mixed_threshold)))
        return loss

    monkeypatch.setattr(MentorMix, "step", spy)
    train(spec_of(), store, folder)
    assert all(one > 0 and two > 0 and one != two for one, two in thresholds)
    thresholds.clear()
    train(spec_of(second_reweight=False), store, folder)
    assert all(one > 0 and two == 0 for one, two in thresholds)


def test_the_first_pass_leaves_batch_norm_alone(store, folder):
    """Running statistics move once a step, with the mixed images."""
    seen = []
    init = MentorMix.__init__

    def spy(self, task, **params):
        init(self, task, **params)
        seen.append(self)

    MentorMix.__init__ = spy
    try:
        train(spec_of({"model": {"name": "small_cnn"}, "training.epochs": 2}), store, folder)
    finally:
        MentorMix.__init__ = init
    counts = {int(b) for name, b in seen[0].model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {10}
    averaged = {int(b) for name, b in seen[0].average.named_buffers() if name.endswith("num_batches_tracked")}
    assert averaged == {5}  # one pass over the training part
    assert not any(parameter.requires_grad for parameter in seen[0].average.parameters())


def test_an_average_without_memory_is_the_network(store, folder):
    with_it = train(spec_of(ema=0.0), store, folder)["result"]
    without = train(spec_of(ema=None), store, folder)["result"]
    assert with_it["curves_sha256"] == without["curves_sha256"]
    assert with_it["gradient_evaluations"] == without["gradient_evaluations"] == 4 * 300
    average = train(spec_of(), store, folder)["result"]
    assert average["curves_sha256"] != without["curves_sha256"]
    assert average["final"]["train_loss"] == without["final"]["train_loss"]


@pytest.mark.parametrize("params", [{}, {"ema": None, "second_reweight": False, "curriculum": "predefined"}])
def test_a_run_stopped_after_any_epoch_ends_the_same(params, tmp_path, store, folder):
    spec = spec_of({"dataset.validation": 0.1, "model": {"name": "small_cnn"}}, **params)
    whole = train(spec, store, folder)
    for epochs in range(1, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


@pytest.mark.parametrize("m", [None, 16])
def test_it_works_with_sam(m, store, folder):
    optimizer = {"name": "sam", "rho": 0.05, "m": m, "base": {"name": "sgd", "lr": 0.1}}
    record = train(spec_of({"training.optimizer": optimizer}), store, folder)
    assert record["result"]["status"] == "finished"
    assert record["result"]["gradient_evaluations"] == 2 * 4 * 300


def test_mixup_of_the_suite_is_refused(store, folder):
    with pytest.raises(InputError, match=r"algorithm\.alpha"):
        train(spec_of({"method.mixup": {"alpha": 1.0}}), store, folder)


@pytest.mark.parametrize("params", [{}, {"second_reweight": False, "percentile": 0.6}, {"curriculum": "predefined"}])
def test_it_beats_plain_training_under_noise(params, store, folder):
    plain = train(small_spec(LARGER), store, folder)["result"]
    mentor = train(spec_of(LARGER, **params), store, folder)["result"]
    assert mentor["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 10
    assert mentor["final"]["memorised"] < plain["final"]["memorised"] / 3
