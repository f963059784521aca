"""Schedules by hand, and against torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.optim import build_schedule

NEEDED = {"multistep": {"milestones": [2, 4]}}


@pytest.mark.parametrize("name", registry.names("schedule"))
def test_every_schedule_is_a_pure_bounded_function_of_progress(name):
    schedule = build_schedule(name, **NEEDED.get(name, {}))
    points = [step / 7 for step in range(6 * 7 + 1)]
    factors = [schedule(point, 6) for point in points]
    assert all(isinstance(factor, (int, float)) and 0 <= factor <= 1 + 1e-12 for factor in factors)
    assert factors == [schedule(point, 6) for point in points]
    assert max(factors) == pytest.approx(1.0, abs=0.02)


def test_constant():
    assert build_schedule("constant")(3.7, 10) == 1.0


def test_cosine_falls_through_one_half_to_zero():
    cosine = build_schedule("cosine")
    assert [cosine(epoch, 8) for epoch in (0, 4, 8)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-15)
    assert cosine(2, 8) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert build_schedule("cosine", end=0.1)(8, 8) == pytest.approx(0.1)
    assert build_schedule("cosine", end=0.1)(4, 8) == pytest.approx(0.55)


def test_cosine_by_epoch_is_torchs_scheduler():
    schedule = build_schedule("cosine", every="epoch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for epoch in range(10):
        assert schedule(epoch, 10) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert schedule(epoch + 0.9, 10) == schedule(epoch, 10)
        optimizer.step()
        scheduler.step()


def test_step_falls_after_every_so_many_epochs():
    step = build_schedule("step", every=3, gamma=0.5)
    assert [step(epoch, 9) for epoch in (0, 2.99, 3, 5, 6, 8.5)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_multistep_with_one_gamma_and_with_one_each():
    one = build_schedule("multistep", milestones=[40, 80], gamma=0.1)
    assert [one(epoch, 120) for epoch in (0, 39.9, 40, 79, 80, 119)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    each = build_schedule("multistep", milestones=[125, 250], gamma=[0.5, 0.2])
    assert [each(epoch, 250) for epoch in (0, 125, 250)] == pytest.approx([1, 0.5, 0.1])
    assert build_schedule("multistep", milestones=[])(5, 10) == 1


def test_exponential_by_epoch_and_by_step():
    assert build_schedule("exponential", gamma=0.5)(2.9, 10) == 0.25
    assert build_schedule("exponential", gamma=0.5, every="step")(2.5, 10) == pytest.approx(0.5**2.5)


def test_one_cycle_starts_low_peaks_and_ends_lower():
    linear = build_schedule("one_cycle", peak=0.25, start=0.2, end=0.0, shape="linear")
    assert [linear(e, 8) for e in (0, 1, 2, 5, 8)] == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0])
    cosine = build_schedule("one_cycle", peak=0.5, start=0.2, end=0.1)
    assert [cosine(e, 8) for e in (0, 2, 4, 6, 8)] == pytest.approx([0.2, 0.6, 1.0, 0.55, 0.1])


def test_one_cycle_defaults_are_torchs():
    schedule = build_schedule("one_cycle")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=101, cycle_momentum=False)
    ends = {0: 0, 100: 100}  # torch puts the peak at 0.3 x 101 - 1 steps; the ends agree
    for step in range(101):
        if step in ends:
            assert schedule(step, 100) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < 100:
            scheduler.step()
    assert schedule(30, 100) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "params", "key"),
    [
        ("multistep", {"milestones": [80, 40]}, "milestones"),
        ("multistep", {"milestones": [-1]}, "milestones"),
        ("multistep", {}, "milestones"),
        ("multistep", {"milestones": [40, 80], "gamma": [0.1]}, "gamma"),
        ("step", {"every": 0}, "every"),
        ("cosine", {"every": "batch"}, "every"),
        ("one_cycle", {"peak": 1.0}, "peak"),
        ("exponential", {"gamma": -0.5}, "gamma"),
    ],
)
def test_parameters_that_make_no_schedule_are_refused(name, params, key):
    with pytest.raises(ParameterError) as error:
        build_schedule(name, **params)
    assert error.value.key == key


def test_parameters_counted_in_epochs_are_marked_so():
    assert "epochs" in registry.get("schedule", "multistep").markers("milestones")
    assert "epochs" in registry.get("schedule", "step").markers("every")
    assert "epochs" not in registry.get("schedule", "cosine").markers("every")
