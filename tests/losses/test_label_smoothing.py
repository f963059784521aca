"""The three forms of label smoothing by hand."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses import build_loss

LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4
LABEL = torch.tensor([0])


def cross(target: list[float]) -> float:
    return target[0] * math.log(4) + target[1] * math.log(4 / 3)


def entropy(target: list[float]) -> float:
    return -sum(t * math.log(t) for t in target if t)


def test_uniform_gives_every_class_its_share():
    loss = build_loss("label_smoothing", smoothing=0.2)(LOGITS, LABEL)
    assert loss.item() == pytest.approx(cross([0.9, 0.1]), rel=1e-14)


def test_kl_subtracts_the_entropy_of_the_target():
    loss = build_loss("label_smoothing", smoothing=0.2, form="kl")(LOGITS, LABEL)
    assert loss.item() == pytest.approx(cross([0.9, 0.1]) - entropy([0.9, 0.1]), rel=1e-13)


def test_off_class_gives_the_label_nothing_back():
    loss = build_loss("label_smoothing", smoothing=0.2, form="offclass")(LOGITS, LABEL)
    assert loss.item() == pytest.approx(cross([0.8, 0.2]) - entropy([0.8, 0.2]), rel=1e-13)


@pytest.mark.parametrize("form", ["uniform", "offclass", "kl"])
def test_without_smoothing_all_are_cross_entropy(form):
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = build_loss("label_smoothing", smoothing=0.0, form=form)
    torch.testing.assert_close(loss(logits, labels), build_loss("ce")(logits, labels))


@pytest.mark.parametrize("form", ["offclass", "kl"])
def test_a_kl_is_zero_at_its_target(form):
    target = torch.tensor([[0.9, 0.1 / 3, 0.1 / 3, 0.1 / 3]], dtype=torch.float64)
    smoothing = 0.1 if form == "offclass" else 0.1 * 4 / 3
    loss = build_loss("label_smoothing", smoothing=smoothing, form=form)(target.log(), LABEL)
    assert loss.item() == pytest.approx(0.0, abs=1e-14)
