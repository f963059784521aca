"""GCE by hand and at its limits."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

HALF = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
LABEL = torch.tensor([0])


def test_at_one_half():
    assert build_loss("gce", q=0.5)(HALF, LABEL).item() == pytest.approx(2 * (1 - math.sqrt(0.5)), rel=1e-14)


def test_tends_to_cross_entropy_and_is_mae_at_one():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (8,), generator=generator)
    close = build_loss("gce", q=1e-9)(logits, labels)
    torch.testing.assert_close(close, build_loss("ce")(logits, labels), rtol=1e-7, atol=0)
    torch.testing.assert_close(build_loss("gce", q=1.0)(logits, labels), build_loss("mae")(logits, labels))


def test_bounded_by_one_over_q_where_published_codes_give_nan_gradients():
    logits = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    loss = build_loss("gce", q=0.7)(logits, LABEL)
    loss.sum().backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_gradient_is_that_of_cross_entropy_times_p_to_the_q():
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(build_loss("gce", q=0.7)(logits, LABEL).sum(), logits)
    assert gradient[0].tolist() == pytest.approx([-0.75 * 0.25**0.7, 0.75 * 0.25**0.7], rel=1e-12)
