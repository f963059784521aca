"""Jensen-Shannon loss by its definition."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4


def by_definition(pi: float) -> float:
    mixed = [pi + (1 - pi) * 0.25, (1 - pi) * 0.75]
    of_prediction = 0.25 * math.log(0.25 / mixed[0]) + 0.75 * math.log(0.75 / mixed[1])
    return -pi * math.log(mixed[0]) + (1 - pi) * of_prediction


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_by_hand(pi):
    label = torch.tensor([0])
    assert build_loss("js", pi=pi, scaled=False)(LOGITS, label).item() == pytest.approx(by_definition(pi), rel=1e-13)
    scale = -(1 - pi) * math.log(1 - pi)
    assert build_loss("js", pi=pi)(LOGITS, label).item() == pytest.approx(by_definition(pi) / scale, rel=1e-13)


def test_bounded_by_the_entropy_of_the_weights():
    """At p_y = 0 the loss is H(pi), over -(1 - pi) log(1 - pi): 2 for one half."""
    logits = torch.tensor([[-1e4, 1e4]])
    assert build_loss("js", scaled=False)(logits, torch.tensor([0])).item() == pytest.approx(math.log(2))
    assert build_loss("js")(logits, torch.tensor([0])).item() == pytest.approx(2.0)
    assert build_loss("js")(logits, torch.tensor([1])).item() == 0
