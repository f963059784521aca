"""Partially Huberised losses by hand and at their thresholds."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss


@pytest.mark.parametrize(
    ("name", "params", "threshold"),
    [
        ("phuber_ce", {"tau": 4.0}, 0.25),
        ("phuber_gce", {"tau": 4.0, "q": 0.5}, 1 / 16),
    ],
)
def test_partial_huberisation_is_continuous_with_its_slope(name, params, threshold):
    """Just below and just above the threshold in p_y, value and slope dL/dp_y agree; the slope there is -tau."""
    step = 1e-9
    p = torch.tensor([threshold * (1 - step), threshold * (1 + step)], dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()], dim=1).requires_grad_()
    losses = build_loss(name, **params)(logits, torch.tensor([0, 0]))
    slope = torch.autograd.grad(losses.sum(), logits)[0][:, 0] / (p * (1 - p))
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-8)
    assert slope.tolist() == pytest.approx([-params["tau"]] * 2, rel=1e-7)


def test_partial_huberisation_below_the_threshold_by_hand():
    logits = torch.tensor([[math.log(0.1), math.log(0.9)]], dtype=torch.float64)
    assert build_loss("phuber_ce", tau=2.0)(logits, torch.tensor([0])).item() == pytest.approx(0.8 + math.log(2))
    below = build_loss("phuber_gce", tau=2.0, q=0.5)(logits, torch.tensor([0]))  # c = 1/4: (1 - 0.5 * 0.5) / 0.5 - 2 p
    assert below.item() == pytest.approx(1.5 - 0.2)
