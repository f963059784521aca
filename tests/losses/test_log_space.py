"""Probabilities kept as logarithms."""

from __future__ import annotations

import pytest
import torch

from noisybench.losses.log_space import at_label, complement


def test_at_label_picks_each_rows_own_entry():
    rows = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert at_label(rows, torch.tensor([2, 0])).tolist() == [3.0, 4.0]


def test_complement_does_not_cancel():
    assert complement(torch.tensor([-1e-7])).item() == pytest.approx(1e-7, rel=1e-6)
