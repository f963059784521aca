"""How numbers and cells are written, in every form of the report."""

from __future__ import annotations

from noisybench.report.grid import Entry
from noisybench.report.results import STATUSES, Study
from noisybench.report.statistics import Summary


def value(summary: Summary) -> str:
    """``87.65 ± 0.42``; the mean alone where one seed gives no interval."""
    half = "" if summary.half_width is None else f" ± {summary.half_width:.2f}"
    return f"{summary.mean:.2f}{half}"


def accuracy(entry: Entry) -> str:
    """What a table says at one place, without footnotes: a mean, ``1/3 diverged``, or what became of the runs."""
    if entry.diverged:
        return f"{entry.diverged}/{entry.planned} diverged"
    if entry.summary is None:
        return ", ".join(
            status if (n := entry.cell.count(status)) == entry.planned else f"{n}/{entry.planned} {status}"
            for status in STATUSES
            if entry.cell.count(status)
        )
    short = "" if entry.summary.n == entry.planned else f" (n = {entry.summary.n} of {entry.planned})"
    return value(entry.summary) + short


def probability(p: float) -> str:
    """``0.031``, and ``< 0.001`` below that: no test is so sure of its model that more would mean anything."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def p_is(p: float) -> str:
    """``p = 0.031`` or ``p < 0.001``."""
    told = probability(p)
    return f"p {told}" if told.startswith("<") else f"p = {told}"


def counts(study: Study) -> str:
    """``72 runs planned: 70 finished, 1 diverged, 1 failed, 0 missing, 0 blocked.``"""
    found = study.counts
    parts = [f"{found[name]} {name}" for name in STATUSES if name not in ("damaged", "left out") or found[name]]
    return f"{found['planned']} runs planned: {', '.join(parts)}."


def signed(number: float) -> str:
    """``+1.2``, ``-0.3``, ``0.0``: never a negative zero."""
    return f"{number:+.1f}" if round(number, 1) else "0.0"


def published(accuracy: float) -> str:
    """A published accuracy with the one or two decimals it was printed with."""
    return f"{accuracy:.1f}" if round(accuracy, 1) == accuracy else f"{accuracy:.2f}"


def listing(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
