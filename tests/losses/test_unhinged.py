"""Unhinged loss by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(2), math.log(5)]], dtype=torch.float64)  # p = 1/8, 2/8, 5/8
LABEL = torch.tensor([0])


def test_is_one_minus_the_probability_of_the_label():
    assert build_loss("unhinged")(LOGITS, LABEL).item() == pytest.approx(0.875, rel=1e-14)
