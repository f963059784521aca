"""Focal loss by hand, with its factor free or constant."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

QUARTER = [[0.0, math.log(3)]]  # p = 1/4, 3/4


def gradient(**params):
    logits = torch.tensor(QUARTER, dtype=torch.float64, requires_grad=True)
    loss = build_loss("focal", **params)(logits, torch.tensor([0]))
    return loss.item(), torch.autograd.grad(loss, logits)[0][0, 0].item()


def test_value_by_hand():
    assert gradient(gamma=2.0)[0] == pytest.approx(0.75**2 * math.log(4), rel=1e-14)


def test_gradient_with_the_factor_held_constant():
    """(1 - p)^gamma (p - 1), as for cross entropy."""
    assert gradient(gamma=2.0)[1] == pytest.approx(0.75**2 * (0.25 - 1), rel=1e-13)


def test_gradient_of_the_formula():
    """d/dz_y of -(1 - p)^2 log p with dp/dz_y = p (1 - p)."""
    by_p = 2 * 0.75 * math.log(0.25) - 0.75**2 / 0.25
    assert gradient(gamma=2.0, detached=False)[1] == pytest.approx(by_p * 0.25 * 0.75, rel=1e-13)


@pytest.mark.parametrize("detached", [True, False])
def test_a_certain_prediction_costs_nothing_and_has_no_gradient(detached):
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss = build_loss("focal", gamma=0.5, detached=detached)(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0]]
