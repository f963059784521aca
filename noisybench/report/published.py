"""Published scores beside the measured ones: which row belongs to which cell, and what speaks against comparing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from noisybench.literature import Score, Source
from noisybench.literature.words import ARCHITECTURES, DATASETS, FLIPS, RULES
from noisybench.report.comparability import reasons, verdict
from noisybench.report.grid import Column, Entry, Grid
from noisybench.report.pair import Pair, Reason
from noisybench.report.results import Cell, finite
from noisybench.report.statistics import Summary, student_quantile, welch
from noisybench.spec import at


@dataclass(frozen=True)
class Partner:
    """A published score for one entry of a grid. ``difference``: measured minus published, in points.

    ``half_width``: of the difference's 95 % interval (Welch), where the score's number of seeds and spread are known.
    ``alternatives``: rows of the source that match as well; ``score`` is the nearest in epoch, flip and architecture.
    """

    score: Score
    difference: float | None
    reasons: tuple[Reason, ...]
    alternatives: int
    half_width: float | None = None

    @property
    def verdict(self) -> str | None:
        """differs, unknown or comparable; None while nothing is measured."""
        return None if self.difference is None else verdict(self.reasons)


@dataclass(frozen=True)
class Comparison:
    """One published table beside one grid. ``alone``: its scores at the grid's places without a partner."""

    source: Source
    partners: dict[tuple[str, str], Partner]  # (row, column label)
    alone: tuple[Score, ...]
    elsewhere: int  # scores on other data sets, noises or rates


def beside(grid: Grid, source: Source, rule: str) -> Comparison:
    """Put a published table beside a grid."""
    partners: dict[tuple[str, str], Partner] = {}
    used: set[int] = set()
    here: set[int] = set()
    at_place: dict[Place, list[Score]] = {}
    for column in grid.columns:
        for row, entry in grid.column(column).items():
            where = _place(entry.cell)
            if where not in at_place:
                at_place[where] = [score for score in source.scores if where.holds(score)]
                here.update(map(id, at_place[where]))
            place = at_place[where]
            matches = [s for s in place if s.method.casefold() == _published_name(entry, row).casefold()]
            if matches:
                used.update(map(id, matches))
                partners[row, column.label] = _partner(entry, matches, source, rule)
    alone = tuple(s for s in source.scores if id(s) in here - used)
    return Comparison(source, partners, alone, sum(id(s) not in here for s in source.scores))


def comparable_as(cell: Cell) -> str | None:
    """The literature's name of the cell's data set, as its records or else its settings say; None for other data."""
    for run in cell.finished:
        name = at(run.result or {}, "data.comparable_as")
        return name if name in DATASETS else None
    for name in (at(cell.settings, "dataset.as"), at(cell.settings, "dataset.name")):
        if name in DATASETS:
            return str(name)
    return None


def _published_name(entry: Entry, row: str) -> str:
    return entry.cell.published or entry.cell.method or row


@dataclass(frozen=True)
class Place:
    """What a published score must have in common with a cell."""

    dataset: str | None
    kind: str
    rate: float | None
    split: str | None

    def holds(self, score: Score) -> bool:
        """Same data set, same kind of noise, same nominal rate or split; at rate 0 every kind is clean."""
        if score.dataset != self.dataset:
            return False
        if score.noise == "clean":
            return self.kind == "clean" or self.rate == 0
        if score.noise != self.kind or (score.split is not None and score.split != self.split):
            return False
        return score.split is not None if self.rate is None else abs(score.rate - self.rate) < 1e-9


def _place(cell: Cell) -> Place:
    noise = cell.settings["noise"]
    kind, split = str(noise.get("kind")), noise.get("split")
    if kind == "human":
        split = noise.get("labels")
    elif kind == "pmd":
        kind, split = "instance", f"pmd_type_{noise.get('type', 'I')}"
    return Place(comparable_as(cell), kind, finite(noise.get("rate")), split)


def _partner(entry: Entry, matches: list[Score], source: Source, rule: str) -> Partner:
    cell = entry.cell

    def nearness(score: Score) -> tuple[bool, ...]:
        known = ARCHITECTURES[score.arch] if score.arch else None
        return (
            score.metric == "test_acc",
            score.epoch is not None and RULES[score.epoch] == rule,
            score.flip is not None and FLIPS[score.flip] == at(cell.settings, "noise.flip"),
            known is not None and at(cell.settings, "model.name") in known.models,
            score.verified,
        )

    score = max(matches, key=nearness)  # the first of equals
    pair = Pair(cell, score, source.protocol(score), source.origin(score), rule, chosen=len(entry.variants) > 1)
    difference = None if entry.summary is None or not entry.ranked else entry.summary.mean - score.acc
    theirs = spread(score)
    half_width = (
        welch(entry.summary, theirs).half_width() if difference is not None and entry.summary and theirs else None
    )
    return Partner(score, difference, reasons(pair), len(matches) - 1, half_width)


def spread(score: Score) -> Summary | None:
    """A published mean with its spread over seeds; None unless it states both for two seeds or more.

    Of a 95 % half width the standard error is taken to be its 1.96th part: the larger of what it may be.
    """
    if score.seeds is None or score.seeds < 2:
        return None
    if score.std is not None:
        return Summary(score.seeds, score.acc, score.std)
    if score.ci95 is not None:
        return Summary(score.seeds, score.acc, score.ci95 / student_quantile(math.inf) * math.sqrt(score.seeds))
    return None


def alone_by_method(comparison: Comparison, grid: Grid) -> list[tuple[str, list[Score | None]]]:
    """(method, its score at each column or None) of the rows without a partner, in the source's order."""
    methods = dict.fromkeys(score.method for score in comparison.alone)
    return [(method, [_alone_at(comparison, grid, method, column) for column in grid.columns]) for method in methods]


def _alone_at(comparison: Comparison, grid: Grid, method: str, column: Column) -> Score | None:
    where = _place(next(iter(grid.column(column).values())).cell)
    found = [score for score in comparison.alone if score.method == method and where.holds(score)]
    return found[0] if found else None
