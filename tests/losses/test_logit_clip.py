"""LogitClip by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.errors import ParameterError
from noisybench.losses import build_loss

LABEL = torch.tensor([0])


def cross_entropy(first: float, second: float) -> float:
    return math.log1p(math.exp(second - first))


def value(logits, **params):
    return build_loss("logit_clip", **params)(torch.tensor([logits], dtype=torch.float64), LABEL).item()


def test_long_logits_are_scaled_and_short_ones_are_not():
    assert value([3.0, 4.0]) == pytest.approx(cross_entropy(0.6, 0.8), rel=1e-13)
    assert value([0.3, 0.4]) == pytest.approx(cross_entropy(0.3, 0.4), rel=1e-13)


def test_the_bound_of_the_code_is_the_inverse_of_the_length():
    """tau = 2: the code scales what is longer than 1/2 to length 2, the paper what is longer than 2."""
    assert value([0.6, 0.8], tau=2.0) == pytest.approx(cross_entropy(1.2, 1.6), rel=1e-13)
    assert value([0.6, 0.8], tau=2.0, form="paper") == pytest.approx(cross_entropy(0.6, 0.8), rel=1e-13)
    assert value([3.0, 4.0], tau=2.0, form="paper") == pytest.approx(cross_entropy(1.2, 1.6), rel=1e-13)


def test_other_norms_and_other_losses():
    assert value([3.0, 4.0], p=1.0) == pytest.approx(cross_entropy(3 / 7, 4 / 7), rel=1e-13)
    p = 1 / (1 + math.exp(0.2))
    assert value([3.0, 4.0], loss={"name": "gce", "q": 0.5}) == pytest.approx(2 * (1 - math.sqrt(p)), rel=1e-13)
    with pytest.raises(ParameterError, match="loss: no loss 'cee'"):
        build_loss("logit_clip", loss="cee")


def test_logits_of_zero_have_a_finite_gradient():
    logits = torch.zeros(1, 3, requires_grad=True)
    build_loss("logit_clip")(logits, LABEL).backward()
    assert logits.grad[0].tolist() == pytest.approx([-2 / 3, 1 / 3, 1 / 3])
