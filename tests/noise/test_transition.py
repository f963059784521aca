"""How many samples a rate means, and flips from class to class."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.noise.transition import exact_count, exact_counts, flip_within_classes
from noisybench.seeding import Draws


@pytest.mark.parametrize(
    ("rate", "n", "want"),
    [
        (0.7, 45, 32),
        (0.29, 100, 29),
        (0.5, 1, 1),
        (0.5, 3, 2),
        (0.1, 4, 0),
        (1.0, 7, 7),
        (0.0, 7, 0),
        (0.3, 50000, 15000),
    ],
)
def test_a_rate_is_rounded_half_up_as_written(rate, n, want):
    assert exact_count(rate, n) == want


def test_counts_of_each_class():
    assert exact_counts(0.4, np.array([0, 0, 0, 0, 0, 2]), 3).tolist() == [2, 0, 0]


def test_flips_are_read_off_the_clean_labels():
    noisy = flip_within_classes(np.array([0, 1, 2]), np.array([1, 2, 2]), Draws(0, "noise"), rate=1.0, count="exact")
    assert noisy.tolist() == [1, 2, 2]
