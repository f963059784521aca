"""Means and intervals over seeds. All of the report's statistics live here.

Sums are exact (``math.fsum``), so that the order of the records never shows in the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean of n values; ``std`` (n - 1 below the line) and the half width of the interval are None when n = 1."""

    n: int
    mean: float
    std: float | None = None
    half_width: float | None = None

    def excludes_zero(self) -> bool:
        """True when there is an interval and it lies on one side of zero."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def student_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
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
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Summary(n, mean, std, student_quantile(n - 1, confidence) * std / math.sqrt(n))


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], confidence: float = CONFIDENCE
) -> Summary | None:
    """First minus second over the seeds both have (same seed, same noise); None when they share none."""
    shared = sorted(first.keys() & second.keys())
    return summarise([first[seed] - second[seed] for seed in shared], confidence)


def lead(best: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> dict[str, bool]:
    """For each other method: is it below ``best`` beyond the seeds' scatter?

    Paired Student intervals, each at 1 - (1 - 0.95) / (number of others), so that all of them hold together
    (Bonferroni). With one shared seed nothing is ever told apart.
    """
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(others))
    out = {}
    for name, values in others.items():
        difference = paired_difference(best, values, confidence)
        out[name] = difference is not None and difference.mean > 0 and difference.excludes_zero()
    return out
