"""Counting: transition matrices as measured, how many samples a rate means, and flips from class to class."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from noisybench.seeding import Draws


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


def flip_within_classes(clean: np.ndarray, target: np.ndarray, draws: Draws, *, rate: float, count: str) -> np.ndarray:
    """Give a share ``rate`` of each class c the label ``target[c]`` (``target`` int64 ``[K]``; c itself: no flip).

    Targets are read off the clean labels. For ``count`` see ``choose_flips``.
    """
    chosen = choose_flips(clean, len(target), draws, rate=rate, count=count)
    noisy = clean.copy()
    noisy[chosen] = target[clean[chosen]]
    return noisy


def choose_flips(clean: np.ndarray, num_classes: int, draws: Draws, *, rate: float, count: str) -> np.ndarray:
    """Positions, ascending. ``exact``: ``exact_count(rate, n_c)`` samples of each class c; ``whole_set``:
    ``exact_count(rate, N)`` without regard to class; ``independent``: each with probability ``rate``."""
    if count == "exact":
        return draws.choose_within(clean, exact_counts(rate, clean, num_classes))
    if count == "whole_set":
        return draws.choose(len(clean), exact_count(rate, len(clean)))
    return np.flatnonzero(draws.uniforms(len(clean)) < rate)


def mapped_transition(target: np.ndarray, rate: float) -> np.ndarray:
    """The matrix of ``flip_within_classes``: 1 - rate on the diagonal, rate at ``target``."""
    expected: np.ndarray = (1 - rate) * np.eye(len(target)) + rate * np.eye(len(target))[target]
    return expected
