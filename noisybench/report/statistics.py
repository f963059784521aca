"""Means and intervals of one list of numbers, and Welch's difference of two.

Sums are exact (``math.fsum``), so that the order of the records never shows in the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
DIGITS = 9
"""Spreads and estimates are rounded here: what is left of equal numbers (1e-14) must neither order nor part them."""


@dataclass(frozen=True)
class Summary:
    """Mean of n values; ``std`` (n - 1 below the line) and the half width of the interval are None when n = 1.

    ``own``: the interval rests on these values alone, though those of other methods were at hand.
    """

    n: int
    mean: float
    std: float | None = None
    half_width: float | None = None
    own: bool = False


@dataclass(frozen=True)
class Difference:
    """First minus second, its standard error and that error's degrees of freedom (both None: no error is known).

    ``own``: Welch's, from the spreads of the two alone.
    """

    mean: float
    error: float | None = None
    degrees: float | None = None
    own: bool = False

    def half_width(self, confidence: float = 0.95) -> float | None:
        """Half the width of Student's interval of this difference alone."""
        if self.error is None or self.degrees is None:
            return None
        return student_quantile(self.degrees, confidence) * self.error


def student_quantile(degrees: float, confidence: float = CONFIDENCE) -> float:
    """Two-sided quantile of Student's t: |t| stays below it with probability ``confidence``.

    >>> round(student_quantile(2), 3)
    4.303
    """
    return float(stdtrit(degrees, 0.5 + confidence / 2))


def summarise(values: Sequence[float], confidence: float = CONFIDENCE) -> Summary | None:
    """Mean and Student interval: mean ± t(n - 1) s / sqrt(n). None without values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean)
    std = round(math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)), DIGITS)
    return Summary(n, mean, std, student_quantile(n - 1, confidence) * std / math.sqrt(n))


def welch(first: Summary, second: Summary) -> Difference:
    """First minus second of independent samples with spreads of their own (Welch 1947), from their summaries alone."""
    mean = first.mean - second.mean
    if first.std is None or second.std is None:
        return Difference(mean, own=True)
    one, two = first.std**2 / first.n, second.std**2 / second.n
    below = one**2 / (first.n - 1) + two**2 / (second.n - 1)
    degrees = (one + two) ** 2 / below if below > 0 else float(min(first.n, second.n) - 1)
    return Difference(mean, math.sqrt(one + two), degrees, own=True)
