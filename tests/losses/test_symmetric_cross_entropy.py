"""RCE and SCE by hand."""

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


@pytest.mark.parametrize(("params", "log_zero"), [({}, math.log(1e-4)), ({"A": -4.0}, -4.0)])
def test_rce_is_mae_times_what_stands_for_log_zero(params, log_zero):
    assert build_loss("rce", **params)(LOGITS, LABEL).item() == pytest.approx(-0.75 * log_zero, rel=1e-14)
