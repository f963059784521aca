"""Active negative losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4
LABEL = torch.tensor([0])
A = -math.log(1e-5)
FIRST, SECOND = math.log(4), math.log(4 / 3)


def value(name, **params):
    return build_loss(name, min_prob=1e-5, **params)(LOGITS, LABEL).item()


def test_nnce():
    assert value("nnce") == pytest.approx(1 - (A - FIRST) / (2 * A - FIRST - SECOND), rel=1e-13)


def test_nnfl():
    most = (1 - 1e-5) ** 2 * A
    first, second = 0.75**2 * FIRST, 0.25**2 * SECOND
    assert value("nnfl", gamma=2.0) == pytest.approx(1 - (most - first) / (2 * most - first - second), rel=1e-13)


def test_anl_is_the_weighted_sum():
    expected = 10 * build_loss("nce")(LOGITS, LABEL).item() + value("nnce")
    assert value("anl_ce", alpha=10.0, beta=1.0) == pytest.approx(expected, rel=1e-14)
    expected = 10 * build_loss("nfl")(LOGITS, LABEL).item() + value("nnfl")
    assert value("anl_fl", alpha=10.0, beta=1.0) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["nnce", "nnfl"])
def test_a_hopeless_label_costs_one_and_a_certain_one_nothing(name):
    logits = torch.tensor([[-1e4, 1e4]])
    assert build_loss(name)(logits, torch.tensor([0])).item() == pytest.approx(1)
    assert build_loss(name)(logits, torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


def test_nnfl_holds_its_factors_constant():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0])
    factors = (1 - torch.softmax(logits.detach(), 1)) ** 0.5
    terms = factors * torch.log_softmax(logits, 1) + math.sqrt(1 - 1e-7) * -math.log(1e-7)
    frozen = 1 - terms[torch.arange(4), labels] / terms.sum(1)
    (expected,) = torch.autograd.grad(frozen.sum(), logits)
    (gradient,) = torch.autograd.grad(build_loss("nnfl")(logits, labels).sum(), logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
