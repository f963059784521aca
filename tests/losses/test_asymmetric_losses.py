"""AGCE, AUL and AEL by hand, at the authors' parameters."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.errors import ParameterError
from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("agce", {}, (1.6**0.6 - 0.85**0.6) / 0.6),
        ("agce", {"a": 6.0, "q": 1.5}, (7**1.5 - 6.25**1.5) / 1.5),
        ("aul", {}, (5.25**3 - 4.5**3) / 3),
        ("aul", {"a": 6.3, "q": 1.5}, (6.05**1.5 - 5.3**1.5) / 1.5),
        ("ael", {}, math.exp(-0.1)),
        ("ael", {"a": 5.0}, math.exp(-0.05)),
    ],
)
def test_by_hand(name, params, expected):
    assert build_loss(name, **params)(LOGITS, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-13)


def test_near_a_certain_prediction_no_digits_are_lost():
    """1 - p_y = 1e-12: the loss is a slope times that."""
    logits = torch.tensor([[0.0, math.log(1e-12)]], dtype=torch.float64)
    label = torch.tensor([0])
    assert build_loss("agce")(logits, label).item() == pytest.approx(1.6**-0.4 * 1e-12, rel=1e-9)
    assert build_loss("aul")(logits, label).item() == pytest.approx(4.5**2 * 1e-12, rel=1e-9)


@pytest.mark.parametrize(("name", "params"), [("aul", {"a": 1.0}), ("agce", {"a": 0.0}), ("ael", {"a": -1.0})])
def test_parameters_outside_the_definition_are_refused(name, params):
    with pytest.raises(ParameterError, match="greater than"):
        build_loss(name, **params)
