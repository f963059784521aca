"""Negative learning by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(2), math.log(5)]], dtype=torch.float64)  # p = 1/8, 2/8, 5/8
LABEL = torch.tensor([0])


def test_is_the_mean_over_the_other_classes():
    expected = -(math.log(0.75) + math.log(0.375)) / 2
    assert build_loss("negative_learning")(LOGITS, LABEL).item() == pytest.approx(expected, rel=1e-13)


def test_keeps_its_gradient_at_a_certain_wrong_prediction():
    """The published clamp at 1 - p = 1e-5 would stop it."""
    logits = torch.tensor([[0.0, 50.0, 0.0]], dtype=torch.float64, requires_grad=True)
    build_loss("negative_learning")(logits, LABEL).backward()
    assert logits.grad[0, 1].item() == pytest.approx(0.5, rel=1e-12)
