"""Epsilon-softmax by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4


def value(name, label, **params):
    return build_loss(name, **params)(LOGITS, torch.tensor([label])).item()


def test_cross_entropy_of_the_pushed_probabilities():
    """m = 9: (0.25 / 10, 9.75 / 10)."""
    assert value("eps_ce", 0, m=9.0) == pytest.approx(-math.log(0.025), rel=1e-13)
    assert value("eps_ce", 1, m=9.0) == pytest.approx(-math.log(0.975), rel=1e-13)


def test_focal_loss_of_the_pushed_probabilities():
    assert value("eps_focal", 0, m=9.0, gamma=2.0) == pytest.approx(-(0.975**2) * math.log(0.025), rel=1e-13)
    assert value("eps_focal", 1, m=9.0, gamma=2.0) == pytest.approx(-(0.025**2) * math.log(0.975), rel=1e-13)


def test_with_mae_in_its_full_form():
    expected = 0.02 * -math.log(0.025) + 5 * 2 * 0.75
    assert value("eps_ce_mae", 0, m=9.0, alpha=0.02) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", ["eps_ce", "eps_focal"])
def test_the_floor_bounds_the_loss_and_stops_its_gradient(name):
    logits = torch.tensor([[0.0, 7.0]], dtype=torch.float64, requires_grad=True)  # p_y = 9e-4, pt_y = 9e-9
    label = torch.tensor([0])
    loss = build_loss(name)(logits, label)
    assert loss.item() == pytest.approx(-math.log(1e-8), rel=1e-8)
    assert torch.autograd.grad(loss, logits)[0].tolist() == [[0.0, 0.0]]
    written = build_loss(name, floor=0.0)(logits, label)
    assert written.item() > loss.item()
    assert torch.autograd.grad(written, logits)[0].abs().max() > 0.9
