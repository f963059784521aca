"""MAE by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss


def test_is_one_minus_the_probability_of_the_label():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]], dtype=torch.float64)
    assert build_loss("mae")(logits, torch.tensor([0, 1])).tolist() == pytest.approx([0.75, 0.25], rel=1e-14)


def test_scale_two_is_the_distance_between_label_and_prediction():
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    p = torch.softmax(logits, 1)
    distance = (torch.tensor([[0.0, 0.0, 1.0]]) - p).abs().sum().item()
    assert build_loss("mae", scale=2.0)(logits, torch.tensor([2])).item() == pytest.approx(distance, rel=1e-14)


def test_sums_over_labels_to_a_constant():
    """Why it is robust to symmetric noise (Ghosh et al. 2017): sum_k loss(k) = K - 1."""
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    total = sum(build_loss("mae")(logits, torch.full((6,), k)) for k in range(4))
    assert total.tolist() == pytest.approx([3.0] * 6, rel=1e-14)
