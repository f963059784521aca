"""Probabilities kept as logarithms."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.losses.log_space import at_label, complement, log_complement


def test_at_label_picks_each_rows_own_entry():
    rows = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert at_label(rows, torch.tensor([2, 0])).tolist() == [3.0, 4.0]


def test_complement_does_not_cancel():
    assert complement(torch.tensor([-1e-7])).item() == pytest.approx(1e-7, rel=1e-6)


def test_log_complement_where_probabilities_round_to_one_and_to_zero():
    log_p = torch.log_softmax(torch.tensor([[50.0, 0.0, 0.0], [1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]), dim=1)
    log_p.requires_grad_()
    result = log_complement(log_p)
    assert result[0].tolist() == pytest.approx([math.log(2) - 50, 0.0, 0.0], rel=1e-6)
    assert result[1].tolist() == [-1e4, 0.0, 0.0]
    assert result[2].tolist() == pytest.approx([math.log(2 / 3)] * 3)
    (gradient,) = torch.autograd.grad(result.sum(), log_p)
    assert torch.isfinite(gradient).all()


def test_log_complement_of_two_classes_is_the_log_of_the_other():
    log_p = torch.log_softmax(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.testing.assert_close(log_complement(log_p), log_p.flip(1))
