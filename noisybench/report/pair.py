"""A published score beside a measured cell, and a reason against comparing the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from noisybench.literature.schema import Origin, Protocol, Score
from noisybench.report.results import Cell
from noisybench.spec import at

DIFFERS, NOT_STATED, UNSURE, NOTE = "differs", "not stated", "unsure", "note"


WRONG_SHARE_TOLERANCE = 0.005
"""Realised against expected share of wrong labels: half a point is sampling, more is another noise."""


@dataclass(frozen=True)
class Reason:
    """One reason against a comparison: differs or unsure (``text`` is a footnote), or not stated (of ``text``); or a
    note."""

    key: str
    kind: str
    text: str


def footnotes_of(found: Iterable[Reason]) -> list[str]:
    """Texts of some reasons: one for each difference or doubt, one for all that the source does not state."""
    found = list(found)
    texts = [reason.text for reason in found if reason.kind != NOT_STATED]
    absent = [reason.text for reason in found if reason.kind == NOT_STATED]
    return [*texts, f"not stated by the source: {', '.join(absent)}"] if absent else texts


@dataclass(frozen=True)
class Pair:
    """A published score beside a cell: how it was made, where it was read, and the selection rule of the report."""

    cell: Cell
    score: Score
    protocol: Protocol
    origin: Origin | None
    rule: str
    chosen: bool = False  # the cell is one of several variants, picked by ``choose``

    def ours(self, path: str) -> Any:
        """A setting of the cell at a dotted path."""
        return at(self.cell.settings, path)

    def measured(self, path: str) -> list[Any]:
        """The different values at ``path`` of the cell's finished results, in the order of the seeds."""
        found = [at(run.result or {}, path) for run in self.cell.finished]
        return list(dict.fromkeys(value for value in found if value is not None))


def not_stated(key: str, what: str) -> Reason:
    return Reason(key, NOT_STATED, what)


def compare(key: str, what: str, theirs: Any, ours: Any, *, show: Callable[[Any], str] = str) -> Iterator[Reason]:
    """Not stated when theirs is None, a difference when the two are unequal."""
    if theirs is None:
        yield not_stated(key, what)
    elif theirs != ours:
        yield Reason(key, DIFFERS, f"{what}: {show(theirs)} published, {show(ours)} here")


def compare_measured(key: str, what: str, theirs: Any, ours: list[Any]) -> Iterator[Reason]:
    """As ``compare``, with what the records say: nothing before there are any, several values when they disagree."""
    if theirs is None:
        yield not_stated(key, what)
    elif any(value != theirs for value in ours):
        yield Reason(key, DIFFERS, f"{what}: {value_text(theirs)} published, {', '.join(map(value_text, ours))} here")


def number(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value:g}"


def value_text(value: Any) -> str:
    return number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
