"""Timings that can be compared on a busy machine: alternatives take turns, and ratios are formed within a turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 2) -> str:
        """``2.41 (2.35 to 2.50)``."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def in_turns(works: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call every work once a turn, ``repeats`` turns, after one turn that is not counted (caches, compilation).

    A work does its job and returns what it measured, seconds or a rate; equal positions belong to one turn.
    """
    for work in works.values():
        work()
    measured: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            measured[name].append(work())
    return measured


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of the quotients turn by turn."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])
