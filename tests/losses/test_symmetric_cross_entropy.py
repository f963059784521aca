"""SCE by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
LABEL = torch.tensor([0])


def test_defaults_are_those_of_the_authors_on_cifar_10():
    expected = 0.1 * math.log(4) + 1.0 * 0.75 * math.log(1e4)
    assert build_loss("sce")(LOGITS, LABEL).item() == pytest.approx(expected, rel=1e-14)


def test_with_the_value_of_log_zero_that_the_paper_quotes():
    expected = 6.0 * math.log(4) + 0.1 * 0.75 * 4
    assert build_loss("sce", alpha=6.0, beta=0.1, A=-4.0)(LOGITS, LABEL).item() == pytest.approx(expected, rel=1e-14)
