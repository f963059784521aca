"""LDR-KL by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss
from noisybench.losses.label_distributional import log_softplus


def test_by_hand():
    """Softplus 1 and 3, over their mean: scores 0.5 and 1.5."""
    logits = torch.tensor([[math.log(math.expm1(1)), math.log(math.expm1(3))]], dtype=torch.float64)
    expected = 2 * math.log((1 + math.exp((0.1 + 1) / 2)) / 2)
    loss = build_loss("ldr_kl", **{"margin": 0.1, "lambda": 2.0})
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-13)


def test_can_be_negative_when_the_label_leads_by_more_than_the_margin():
    assert build_loss("ldr_kl")(torch.tensor([[5.0, -5.0]]), torch.tensor([0])).item() < 0


def test_log_softplus_where_softplus_is_zero():
    x = torch.tensor([-1e4, -15.0001, -14.9999, 0.0, 30.0], dtype=torch.float64, requires_grad=True)
    value = log_softplus(x)
    expected = [-1e4, *(math.log(math.log1p(math.exp(v))) for v in x.tolist()[1:4]), math.log(30 + math.exp(-30))]
    assert value.tolist() == pytest.approx(expected, rel=1e-12)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert slope.tolist()[:3] == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
