"""Taylor cross entropy by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(2), math.log(5)]], dtype=torch.float64)  # p = 1/8, 2/8, 5/8
LABEL = torch.tensor([0])


@pytest.mark.parametrize("t", [1, 2, 4, 6])
def test_is_the_series_up_to_its_t_th_term(t):
    expected = sum(0.875**i / i for i in range(1, t + 1))
    assert build_loss("taylor_ce", t=t)(LOGITS, LABEL).item() == pytest.approx(expected, rel=1e-14)
