"""Normalised losses by hand; NFL's gradient with its factors constant."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4
LABEL = torch.tensor([0])
FIRST, SECOND = math.log(4), math.log(4 / 3)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("nce", {}, FIRST / (FIRST + SECOND)),
        ("nfl", {"gamma": 2.0}, 0.75**2 * FIRST / (0.75**2 * FIRST + 0.25**2 * SECOND)),
        ("ngce", {"q": 0.5}, 0.5 / (2 - 0.5 - math.sqrt(0.75))),
        ("nmae", {}, 0.75),
        ("nmae", {"scale": 0.5}, 0.375),
        ("nrce", {}, 0.75),
    ],
)
def test_by_hand(name, params, expected):
    assert build_loss(name, **params)(LOGITS, LABEL).item() == pytest.approx(expected, rel=1e-13)


def test_nfl_holds_its_factors_constant_in_numerator_and_denominator():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    factors = (1 - torch.softmax(logits.detach(), 1)) ** 0.5
    terms = factors * torch.log_softmax(logits, 1)
    frozen = terms[torch.arange(6), labels] / terms.sum(1)
    (expected,) = torch.autograd.grad(frozen.sum(), logits)
    (gradient,) = torch.autograd.grad(build_loss("nfl")(logits, labels).sum(), logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["nce", "nfl", "ngce", "nmae", "nrce"])
def test_between_zero_and_one_also_where_probabilities_underflow(name):
    logits = torch.tensor([[1e4, 0.0, -1e4]])
    losses = [build_loss(name)(logits, torch.tensor([k])).item() for k in range(3)]
    assert losses[0] == 0
    assert all(0 <= value <= 1 for value in losses)
    assert sum(losses) == pytest.approx(1, rel=1e-6)
