"""Means and intervals of one list of numbers, and Welch's difference of two.

Sums are exact (``math.fsum``), so that the order of the records never shows in the result.

Accuracies of n test images move in steps of 100 / n, so that a few seeds often differ by the same amount. That is
rounding, not certainty: no spread over seeds is taken to be smaller than that of rounding to whole images.
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

    ``own``: the interval rests on these values alone, though those of other methods were at hand. ``least``: the
    standard deviation that intervals rest on where ``std`` is below it.
    """

    n: int
    mean: float
    std: float | None = None
    half_width: float | None = None
    own: bool = False
    least: float = 0.0

    @property
    def spread(self) -> float | None:
        """The standard deviation that intervals rest on; None when n = 1."""
        return None if self.std is None else max(self.std, self.least)


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


def rounding(images: float | None) -> float:
    """Standard deviation, in points, of rounding an accuracy to whole test images: a uniform law's, whatever the
    selection rule. 0 where their number is not known.

    >>> round(rounding(100), 3)
    0.289
    """
    return 100 / images / math.sqrt(12) if images and images > 0 else 0.0


def summarise(values: Sequence[float], confidence: float = CONFIDENCE, *, least: float = 0.0) -> Summary | None:
    """Mean and Student interval: mean ± t(n - 1) s / sqrt(n), with s no smaller than ``least``. None without values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean, least=least)
    std = round(math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)), DIGITS)
    half_width = student_quantile(n - 1, confidence) * max(std, least) / math.sqrt(n)
    return Summary(n, mean, std, half_width, least=least)


def welch(first: Summary, second: Summary) -> Difference:
    """First minus second of independent samples with spreads of their own (Welch 1947), from their summaries alone."""
    mean = first.mean - second.mean
    if first.spread is None or second.spread is None:
        return Difference(mean, own=True)
    one, two = first.spread**2 / first.n, second.spread**2 / second.n
    below = one**2 / (first.n - 1) + two**2 / (second.n - 1)
    degrees = (one + two) ** 2 / below if below > 0 else float(min(first.n, second.n) - 1)
    return Difference(mean, math.sqrt(one + two), degrees, own=True)
