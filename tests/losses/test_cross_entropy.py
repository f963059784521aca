"""Cross entropy by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss


def test_of_probabilities_one_quarter_and_three_quarters():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]], dtype=torch.float64)
    losses = build_loss("ce")(logits, torch.tensor([0, 1]))
    assert losses.tolist() == pytest.approx([math.log(4), math.log(4 / 3)], rel=1e-14)


def test_stays_exact_where_the_probability_underflows():
    logits = torch.tensor([[0.0, 1e4]], requires_grad=True)
    loss = build_loss("ce")(logits, torch.tensor([0]))
    loss.sum().backward()
    assert loss.item() == 1e4
    assert logits.grad.tolist() == [[-1.0, 1.0]]
