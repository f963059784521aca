"""The main table as the page shows it: every place with its mean, interval, n, published scores and footnotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noisybench.report import remarks, words
from noisybench.report.grid import Column, Entry, Grid
from noisybench.report.markdown import shown_row, verdicts
from noisybench.report.notes import Footnotes
from noisybench.report.pair import Reason, footnotes_of
from noisybench.report.published import Comparison, Partner

BEST, TIED = "★", "≈"
VERDICTS = {
    "comparable": ("=", "comparable"),
    "unknown": ("?", "perhaps comparable: nothing differs, but not all is known"),
    "differs": ("≠", "not comparable"),
    None: ("", ""),
}
"""Verdict on a pair -> its sign and what the sign means."""


@dataclass(frozen=True)
class Published:
    """A published score beside a mean. ``notes``: letters of its footnotes."""

    source: str
    score: str
    difference: str
    sign: str
    meaning: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """One cell of the table. ``value`` sorts; ``text``: mean, or what became of the runs; ``how``: its section."""

    column: int
    value: float | None
    text: str
    half: str
    n: str
    best: bool
    tied: bool
    notes: tuple[str, ...]
    published: tuple[Published, ...]
    how: int | None


@dataclass(frozen=True)
class Row:
    """One method."""

    name: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Below:
    """What stands below a table on one source. ``known``: some differences have an interval; ``notes``: letters of the
    reasons that all its pairs have."""

    title: str
    verdicts: str
    known: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One grid under one rule, with what stands below it."""

    heads: tuple[tuple[int, str], ...]
    rows: tuple[Row, ...]
    below: tuple[str, ...]
    chosen: tuple[str, ...]
    sources: tuple[Below, ...]


def table(
    grid: Grid,
    comparisons: Sequence[Comparison],
    notes: Footnotes,
    columns: Mapping[str, int],
    places: Mapping[int, int],
) -> Table:
    """``columns``: number of each column label on the page; ``places``: ``id`` of a cell -> number of its section."""
    shared = [_shared(comparison) for comparison in comparisons]
    rows = []
    for row in grid.rows:
        found = []
        for column in grid.columns:
            entry = grid.entry(row, column)
            pairs = [
                _published(comparison.source.name, partner, everywhere, notes)
                for comparison, everywhere in zip(comparisons, shared, strict=True)
                if (partner := comparison.partners.get((row, column.label))) is not None
            ]
            how = None if entry is None else places.get(id(entry.cell))
            found.append(_place(columns[column.label], entry, pairs, notes, how))
        rows.append(Row(row, tuple(found)))
    visible = remarks.visible(grid)
    below = [*remarks.legend(grid, BEST, TIED), *([visible] if visible else []), remarks.conventions(grid)]
    sources = [
        Below(
            f"{comparison.source.name}: {comparison.source.title}",
            verdicts(comparison),
            any(partner.half_width is not None for partner in comparison.partners.values()),
            _letters(notes, footnotes_of(everywhere)),
        )
        for comparison, everywhere in zip(comparisons, shared, strict=True)
        if comparison.partners
    ]
    return Table(
        tuple((columns[column.label], _head(column)) for column in grid.columns),
        tuple(rows),
        tuple(below),
        tuple(remarks.chosen(grid)),
        tuple(sources),
    )


def _head(column: Column) -> str:
    return column.short.replace(" %", "\N{NO-BREAK SPACE}%")


def _place(
    column: int, entry: Entry | None, published: Sequence[Published], notes: Footnotes, how: int | None
) -> Place:
    if entry is None:
        return Place(column, None, "–", "", "", False, False, (), tuple(published), how)
    letters = _letters(notes, remarks.entry_notes(entry))
    summary = entry.summary
    if summary is None or entry.diverged:
        text = words.accuracy(entry)
        return Place(column, None, text, "", "", False, False, letters, tuple(published), how)
    half = "" if summary.half_width is None else f"± {summary.half_width:.2f}"
    n = f"n = {summary.n}" if summary.n == entry.planned else f"n = {summary.n} of {entry.planned}"
    text = f"{summary.mean:.2f}"
    return Place(column, summary.mean, text, half, n, entry.best, entry.tied, letters, tuple(published), how)


def _published(source: str, partner: Partner, everywhere: Sequence[Reason], notes: Footnotes) -> Published:
    texts = footnotes_of([reason for reason in partner.reasons if reason not in everywhere])
    if partner.alternatives:
        texts.append(shown_row(partner))
    sign, meaning = VERDICTS[partner.verdict]
    difference = "" if partner.difference is None else words.signed(partner.difference).replace("-", "−")
    difference += "" if partner.half_width is None else f" ± {partner.half_width:.1f}"
    score = words.published(partner.score.acc)
    return Published(source, score, difference, sign, meaning, _letters(notes, texts))


def _shared(comparison: Comparison) -> list[Reason]:
    """Reasons that every pair has, in their order; none where there is one pair: it says them itself."""
    partners = list(comparison.partners.values())
    if len(partners) < 2:
        return []
    common = set.intersection(*(set(partner.reasons) for partner in partners))
    return [reason for reason in partners[0].reasons if reason in common]


def _letters(notes: Footnotes, texts: Sequence[str]) -> tuple[str, ...]:
    letters = {notes.letter(text) for text in texts}
    return tuple(sorted(letters, key=lambda letter: (len(letter), letter)))
