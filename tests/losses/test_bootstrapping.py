"""Soft and hard bootstrapping by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

FIRST, SECOND = math.log(4), math.log(4 / 3)


def value_and_gradient(name, **params):
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64, requires_grad=True)  # p = 1/4, 3/4
    loss = build_loss(name, **params)(logits, torch.tensor([0]))
    return loss.item(), torch.autograd.grad(loss, logits)[0][0, 0].item()


def test_soft():
    value, gradient = value_and_gradient("bootstrap_soft", beta=0.8, detached=True)
    assert value == pytest.approx(0.8 * FIRST + 0.2 * (0.25 * FIRST + 0.75 * SECOND), rel=1e-13)
    assert gradient == pytest.approx(0.25 - (0.8 + 0.2 * 0.25), rel=1e-13)  # p - target


def test_soft_with_the_gradient_through_the_target():
    """The entropy adds p_0 p_1 (log p_1 - log p_0) to its derivative by z_0."""
    value, gradient = value_and_gradient("bootstrap_soft", beta=0.8)
    assert value == value_and_gradient("bootstrap_soft", beta=0.8, detached=True)[0]
    assert gradient == pytest.approx(0.8 * (0.25 - 1) + 0.2 * 0.25 * 0.75 * (FIRST - SECOND), rel=1e-13)


def test_hard():
    value, gradient = value_and_gradient("bootstrap_hard", beta=0.8)
    assert value == pytest.approx(0.8 * FIRST + 0.2 * SECOND, rel=1e-13)
    assert gradient == pytest.approx(0.25 - 0.8, rel=1e-13)
