"""Tests and summaries that look at ranks alone: each only where there are enough numbers for it to say anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from noisybench.report.statistics import CONFIDENCE

FEWEST_PAIRS = 6
"""Below six pairs the smallest two-sided p value of a signed-rank test is above 0.05, whatever the data say."""
FEWEST_BLOCKS = 10
"""Friedman's test and Nemenyi's critical difference rest on a limit that fewer blocks are far from."""


@dataclass(frozen=True)
class Ranking:
    """Methods over independent blocks (Friedman 1937, Iman & Davenport 1980, Nemenyi 1963; Demsar 2006).

    ``ranks``: mean rank, 1 the best. ``statistic`` and ``p``: Iman and Davenport's F. Methods whose mean ranks differ
    by less than ``critical`` are not told apart; ``groups`` are the largest sets of them, the bars of the diagram.
    """

    blocks: int
    ranks: Mapping[str, float]
    statistic: float
    p: float
    critical: float
    groups: tuple[tuple[str, ...], ...]


def signed_rank(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test over the seeds both have; None below six.

    Exact, also where differences are equal in size (mean ranks); differences of zero are left out.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < FEWEST_PAIRS:
        return None
    differences = [d for seed in shared if (d := round(first[seed] - second[seed], 9))]
    twice = [round(2 * rank) for rank in scipy.stats.rankdata([abs(d) for d in differences])] if differences else []
    law = np.zeros(sum(twice) + 1)  # of twice the sum of the ranks with a positive sign
    law[0] = 1
    for rank in twice:
        law[rank:] += law[:-rank].copy()
        law /= 2
    found = sum(rank for rank, d in zip(twice, differences, strict=True) if d > 0)
    return min(1.0, 2 * float(min(law[: found + 1].sum(), law[found:].sum())))


def friedman(table: Mapping[str, Sequence[float]]) -> Ranking | None:
    """Of ``{method: its accuracy in each block}``; None below ten blocks or two methods."""
    methods = sorted(table)
    count, blocks = len(methods), len(table[methods[0]]) if methods else 0
    if count < 2 or blocks < FEWEST_BLOCKS:
        return None
    rows = [scipy.stats.rankdata([-round(table[m][b], 9) for m in methods]) for b in range(blocks)]
    ranks = {m: math.fsum(row[i] for row in rows) / blocks for i, m in enumerate(methods)}
    square = (
        12 * blocks / (count * (count + 1)) * (math.fsum(r**2 for r in ranks.values()) - count * (count + 1) ** 2 / 4)
    )
    below = blocks * (count - 1) - square
    statistic = (blocks - 1) * square / below if below > 0 else math.inf
    p = float(scipy.stats.f.sf(statistic, count - 1, (count - 1) * (blocks - 1)))
    quantile = float(scipy.stats.studentized_range.ppf(CONFIDENCE, count, math.inf)) / math.sqrt(2)
    critical = quantile * math.sqrt(count * (count + 1) / (6 * blocks))
    return Ranking(blocks, ranks, statistic, p, critical, _groups(ranks, critical))


def _groups(ranks: Mapping[str, float], critical: float) -> tuple[tuple[str, ...], ...]:
    """The largest runs of methods, by mean rank, whose ends are not told apart."""
    order = sorted(ranks, key=lambda m: (ranks[m], m))
    found: list[tuple[str, ...]] = []
    end = 0
    for start, method in enumerate(order):
        stop = 1 + max(i for i, m in enumerate(order) if ranks[m] - ranks[method] < critical)
        if stop - start > 1 and stop > end:  # not inside the run before it
            found.append(tuple(order[start:stop]))
            end = stop
    return tuple(found)


def kendall(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Kendall's tau-b of the methods both have; None where one of the two orders nothing."""
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return None
    tau = float(scipy.stats.kendalltau([first[m] for m in shared], [second[m] for m in shared]).statistic)
    return None if math.isnan(tau) else tau


def places(means: Mapping[str, float]) -> dict[str, int]:
    """1 for the highest mean; equal means share the better place."""
    values = {m: round(mean, 9) for m, mean in means.items()}
    return {m: 1 + sum(other > value for other in values.values()) for m, value in values.items()}
