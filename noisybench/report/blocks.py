"""The block model of one column: accuracy ~ method + seed, by least squares.

Runs of one seed saw the same noise and the same batch order, so that a seed is a block. What is left after methods and
seeds (the residual) is pooled over the methods: an interval of a difference of M methods with n seeds each rests on
(M - 1)(n - 1) degrees of freedom instead of n - 1.

Neither the residual nor a spread over seeds is taken to be smaller than that of rounding to whole test images.

A method whose spread over seeds is more than three times the median of all has its own interval, and its differences
are Welch's; so are differences of methods that no chain of shared seeds connects.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from noisybench.report.statistics import DIGITS, Difference, Summary, student_quantile, summarise, welch

LARGE_SPREAD = 3.0
"""A standard deviation over seeds above this many times the median of the column's methods is not pooled."""


@dataclass(frozen=True)
class Block:
    """The fitted column. ``summaries``: plain means, with an interval that covers the choice of seeds and noise draws.

    ``adjusted``: means for the same seeds, by least squares; equal to the plain means where every method has the same
    seeds. ``residual`` (standard deviation) and ``degrees`` are those of the pooled methods; None and 0 where there is
    nothing left over. ``own``: methods with a spread too large to be pooled. ``rounded``: some spread was smaller than
    that of rounding to whole images, which stands in for it.
    """

    summaries: Mapping[str, Summary]
    adjusted: Mapping[str, float]
    own: frozenset[str]
    residual: float | None
    degrees: int
    _place: Mapping[str, int] = field(default_factory=dict)
    _part: Mapping[str, int] = field(default_factory=dict)
    _inverse: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    _correlation: Mapping[str, float] = field(default_factory=dict)
    rounded: bool = False

    def pooled(self, first: str, second: str) -> bool:
        """True when the two are compared by the pooled residual."""
        return self.degrees > 0 and first in self._part and self._part[first] == self._part.get(second)

    def difference(self, first: str, second: str) -> Difference:
        """First minus second: on the same seeds with the pooled residual, or Welch's."""
        if not self.pooled(first, second):
            return welch(self.summaries[first], self.summaries[second])
        i, j = self._place[first], self._place[second]
        variance = self._inverse[i, i] + self._inverse[j, j] - 2 * self._inverse[i, j]
        error = (self.residual or 0.0) * math.sqrt(variance)
        return Difference(self._minus(first, second), round(error, DIGITS), self.degrees)

    def _minus(self, first: str, second: str) -> float:
        return round(self.adjusted[first] - self.adjusted[second], DIGITS)

    def rivals(self, method: str, methods: Iterable[str]) -> list[str]:
        """The others that decide whether ``method`` may be the best: of those with one error, the highest alone."""
        others = [m for m in methods if m != method]
        if self._correlation:  # not every method has the same seeds
            return others
        same = [m for m in others if self.pooled(method, m)]
        top = max(same, key=lambda m: self.adjusted[m], default=None)
        return [m for m in others if m == top or not self.pooled(method, m)]

    def correlation(self, control: str) -> float:
        """Smallest correlation of two estimated differences with ``control``: 1/2 where all have the same seeds."""
        return self._correlation.get(control, 0.5)


def fit(values: Mapping[str, Mapping[str, float]], least: float = 0.0) -> Block:
    """The block model of ``{method: {seed: accuracy}}``; methods without a value are left out.

    A method with one seed has no spread to judge, hence no interval and no part in the residual. ``least``: the
    smallest standard deviation that accuracies of so many test images allow (``rounding``).
    """
    values = {method: by_seed for method, by_seed in values.items() if by_seed}
    summaries = {m: s for m, by_seed in values.items() if (s := summarise(list(by_seed.values()), least=least))}
    spreads = {m: s.spread for m, s in summaries.items() if s.spread is not None}
    limit = LARGE_SPREAD * statistics.median(spreads.values()) if spreads else 0.0
    own = frozenset(m for m, std in spreads.items() if std > limit)
    pooled = sorted(spreads.keys() - own)
    summaries |= {m: replace(summaries[m], own=True) for m in own}
    adjusted = {m: round(s.mean, DIGITS) for m, s in summaries.items()}
    if not pooled:
        return Block(summaries, adjusted, own, None, 0)
    seeds = sorted({seed for m in pooled for seed in values[m]})
    there = np.array([[seed in values[m] for seed in seeds] for m in pooled])
    table = np.array([[values[m].get(seed, 0.0) for seed in seeds] for m in pooled])
    part = _parts(there)
    inverse, fitted = _least_squares(there, table)
    left = np.where(there, table - fitted, 0.0)
    degrees = int(there.sum()) - len(pooled) - len(seeds) + len(set(part))
    found = round(math.sqrt(float((left**2).sum()) / degrees), DIGITS) if degrees else None
    residual = None if found is None else max(found, least)
    if not there.all():
        for i, m in enumerate(pooled):
            members = [k for k in range(len(pooled)) if part[k] == part[i]]
            adjusted[m] = round(float(fitted[i, there[members].any(axis=0)].mean()), DIGITS)
    total = _within_methods([summaries[m] for m in pooled])
    summaries |= _intervals(pooled, summaries, there, max(total, least**2), (residual or 0.0) ** 2, degrees)
    place = {m: i for i, m in enumerate(pooled)}
    lowest = {} if there.all() else {m: _lowest_correlation(inverse, part, i) for i, m in enumerate(pooled)}
    parts = dict(zip(pooled, part, strict=True))
    rounded = total < least**2 or (found is not None and found < least)
    return Block(summaries, adjusted, own, residual, degrees, place, parts, inverse, lowest, rounded)


def _least_squares(there: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of methods x seeds: the generalised inverse of the information on methods once seeds are taken out, and the
    fitted value of every place."""
    count = there.sum(axis=0)
    means = (table * there).sum(axis=0) / count
    information = np.diag(there.sum(axis=1)).astype(float) - (there / count) @ there.T
    inverse = np.linalg.pinv(information, rcond=1e-10, hermitian=True)
    effects = inverse @ (there * (table - means)).sum(axis=1)
    seeds = (there * (table - effects[:, None])).sum(axis=0) / count
    return inverse, effects[:, None] + seeds


def _parts(there: np.ndarray) -> list[int]:
    """Which connected part each method is in: methods with a seed in common are in one."""
    part = list(range(len(there)))
    for seed in range(there.shape[1]):
        members = {part[i] for i in np.flatnonzero(there[:, seed])}
        part = [min(members) if p in members else p for p in part]
    return part


def _lowest_correlation(inverse: np.ndarray, part: Sequence[int], control: int) -> float:
    """Over all pairs of differences with ``control`` within its connected part; never below zero."""
    others = [i for i in range(len(part)) if i != control and part[i] == part[control]]
    if len(others) < 2:
        return 0.5
    column = inverse[others, control]
    shared = inverse[np.ix_(others, others)] - column[:, None] - column + inverse[control, control]
    scale = np.sqrt(np.diag(shared))
    return round(max(0.0, float((shared / np.outer(scale, scale)).min())), 6)


def _within_methods(summaries: Sequence[Summary]) -> float:
    """The methods' mean variance over seeds."""
    return math.fsum((s.n - 1) * (s.std or 0.0) ** 2 for s in summaries) / sum(s.n - 1 for s in summaries)


def _intervals(
    pooled: Sequence[str],
    summaries: Mapping[str, Summary],
    there: np.ndarray,
    total: float,
    residual: float,
    degrees: int,
) -> dict[str, Summary]:
    """Intervals of the means with the spread over seeds pooled over the methods.

    A mean varies with seeds and residual, ``(seed variance + residual) / n``. The methods' mean variance, ``total``,
    estimates that sum; it is the weighted mean of the seeds' mean square and the residual's, so Satterthwaite's degrees
    of freedom lie between n - 1 (only seeds matter) and M (n - 1) (they do not).
    """
    size = float(there.sum()) / there.shape[1]  # methods a seed
    blocks = max(0.0, size * total - (size - 1) * residual)  # mean square of the seeds
    below = (blocks / size) ** 2 / (there.shape[1] - 1)
    below += ((size - 1) * residual / size) ** 2 / degrees if degrees else 0.0
    most = sum(summaries[m].n - 1 for m in pooled)
    effective = min(total**2 / below, most) if below > 0 else float(most)
    quantile = student_quantile(effective)
    return {
        m: replace(summaries[m], half_width=round(quantile * math.sqrt(total / summaries[m].n), DIGITS)) for m in pooled
    }
