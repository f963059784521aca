"""Which methods of a column are told apart: all against one baseline, and all against the best.

Both use one critical value, Dunnett's two-sided quantile, so that they never contradict each other: a baseline is told
apart from a method above it exactly where it is told apart from the best.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from noisybench.report.blocks import Block
from noisybench.report.critical import dunnett_quantile
from noisybench.report.statistics import CONFIDENCE, Difference, student_quantile


@dataclass(frozen=True)
class Comparison:
    """One method minus the control, with half the width of an interval that holds together with all others.

    ``half_width`` is None where no error is known: with one seed nothing is told apart. ``own``: Welch's, with
    Bonferroni's level.
    """

    difference: float
    half_width: float | None
    own: bool = False

    @property
    def apart(self) -> bool:
        """The interval lies on one side of zero."""
        return self.half_width is not None and abs(self.difference) > self.half_width


@dataclass(frozen=True)
class Standing:
    """A column's order. ``best``: highest mean, several where they are equal. ``tied``: the others that may be it.

    ``behind``: each method minus the best of the others. ``visible``: the smallest difference to the best that is told
    apart, the largest over the pooled pairs; None where no pair has an error.
    """

    best: tuple[str, ...]
    tied: tuple[str, ...]
    behind: dict[str, Comparison]
    visible: float | None = None


def against(block: Block, baseline: str, methods: Iterable[str] | None = None) -> dict[str, Comparison]:
    """Every other method minus the baseline, two-sided, 95 % for all together (Dunnett 1955, 1964)."""
    others = [m for m in (block.summaries if methods is None else methods) if m != baseline]
    return {m: _compared(block, m, baseline, len(others), baseline) for m in others}


def standing(block: Block, methods: Iterable[str] | None = None) -> Standing:
    """Hsu's multiple comparisons with the best, 95 % for all methods together.

    Method i may be the best unless ``m_i - m_j + |d| s_ij < 0`` for a j: the upper bound of its difference to the best
    of the others. |d| is Dunnett's two-sided quantile with i as the control (Edwards & Hsu 1983: unconstrained), so
    that a method told apart is worse, not only no better, as the one-sided quantile (Hsu 1981, 1984) would have it.
    Where every method has the same seeds this is ``m_best - m_i > |d| s sqrt(2 / n)``.
    """
    names = list(block.summaries if methods is None else methods)
    top = max(block.adjusted[m] for m in names)
    best = tuple(m for m in names if block.adjusted[m] == top)
    if len(names) < 2:
        return Standing(best, (), {})
    behind: dict[str, Comparison] = {}
    widths: list[float] = []
    for m in names:
        pairs = [_compared(block, m, n, len(names) - 1, control=m) for n in block.rivals(m, names)]
        widths += [pair.half_width for pair in pairs if pair.half_width is not None and not pair.own]
        behind[m] = min(pairs, key=_upper)
    tied = tuple(m for m in names if m not in best and _upper(behind[m]) >= 0)
    return Standing(best, tied, behind, max(widths, default=None))


def _upper(compared: Comparison) -> float:
    """Upper bound of the difference; without an error there is none."""
    return float("inf") if compared.half_width is None else compared.difference + compared.half_width


def _compared(block: Block, first: str, second: str, count: int, control: str) -> Comparison:
    """First minus second as one of ``count`` comparisons with ``control``."""
    difference = block.difference(first, second)
    return Comparison(difference.mean, _width(block, difference, control, count), difference.own)


def _width(block: Block, difference: Difference, control: str, count: int) -> float | None:
    if difference.error is None or difference.degrees is None:
        return None
    if difference.own:  # no common residual: Bonferroni
        quantile = student_quantile(difference.degrees, 1 - (1 - CONFIDENCE) / count)
    else:
        quantile = dunnett_quantile(count, difference.degrees, block.correlation(control))
    return quantile * difference.error
