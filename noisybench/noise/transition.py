"""Counting: transition matrices as measured, and how many samples a rate means."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np


def measured_transition(clean: np.ndarray, noisy: np.ndarray, num_classes: int) -> np.ndarray:
    """T ``[K, K]`` float64, T[i][j] = share of the samples of clean class i that are labelled j.

    Rows sum to one. A class without samples gets the row of the identity.
    """
    counts = np.bincount(clean * num_classes + noisy, minlength=num_classes**2).reshape(num_classes, num_classes)
    sizes = counts.sum(axis=1, keepdims=True)
    return np.where(sizes > 0, counts / np.maximum(sizes, 1), np.eye(num_classes))


def exact_count(rate: float, n: int) -> int:
    """``rate`` of ``n`` samples: rate n rounded half up, with the rate taken as the decimal it is written as.

    >>> exact_count(0.7, 45)  # 31.5, though 0.7 * 45 is 31.499999999999996 in float64
    32
    """
    return int((Decimal(repr(float(rate))) * n).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def exact_counts(rate: float, clean: np.ndarray, num_classes: int) -> np.ndarray:
    """``exact_count`` of each class of ``clean``, int64 ``[K]``."""
    sizes = np.bincount(clean, minlength=num_classes)
    return np.array([exact_count(rate, int(n)) for n in sizes], dtype=np.int64)
