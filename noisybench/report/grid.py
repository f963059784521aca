"""From cells to tables: variants collapsed by ``choose``, methods ranked within a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from noisybench.errors import InputError
from noisybench.report.blocks import Block, fit
from noisybench.report.comparisons import Standing, standing
from noisybench.report.results import RULES, Cell, Study, finite
from noisybench.report.statistics import Summary, rounding, summarise


@dataclass(frozen=True)
class Entry:
    """One place of a table. ``variants`` are all that ``choose`` could pick from; ``cell`` is the one it picked.

    ``best``: highest mean of its column; ``tied``: not told apart from the best. Both stay False where a run of the
    column has no result yet, and for a method with a diverged run.
    """

    cell: Cell
    variants: tuple[Cell, ...]
    summary: Summary | None
    best: bool = False
    tied: bool = False

    @property
    def planned(self) -> int:
        """Planned runs of the cell shown."""
        return len(self.cell.runs)

    @property
    def diverged(self) -> int:
        """Runs that diverged."""
        return self.cell.count("diverged")

    @property
    def ranked(self) -> bool:
        """It has a mean and no diverged run."""
        return self.summary is not None and self.diverged == 0

    @property
    def settled(self) -> bool:
        """Every run of every variant finished or diverged."""
        return all(run.status in ("finished", "diverged") for cell in self.variants for run in cell.runs)


@dataclass(frozen=True)
class Column:
    """One noise of a table: the plan's label and the short one that heads the column."""

    label: str
    short: str
    kind: str
    rate: float | None


@dataclass(frozen=True)
class Grid:
    """The table of one data set and one model: methods (rows) by noises (columns), both in the plan's order.

    ``blocks`` and ``standings``, by column label: the block model of the ranked methods, and their order where every
    run of the column has its result. ``known``: what was computed from the grid once and is asked for again.
    """

    dataset: str
    model: str
    rule: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    known: dict[Any, Any] = field(init=False, default_factory=dict, compare=False, repr=False)

    def entry(self, row: str, column: Column) -> Entry | None:
        """The entry of a method at a noise, None where the plan has none."""
        return self.entries.get((row, column.label))

    def column(self, column: Column) -> dict[str, Entry]:
        """Method -> entry of one column."""
        return {row: entry for row in self.rows if (entry := self.entry(row, column)) is not None}


def check_rule(rule: str) -> None:
    """InputError unless ``rule`` is a selection rule."""
    if rule not in RULES:
        raise InputError(f"no selection rule '{rule}'; there are: {', '.join(RULES)}")


def accuracies(cell: Cell, rule: str) -> dict[str, float]:
    """Seed -> test accuracy in percent under ``rule``; InputError where a finished run has none."""
    found = cell.values(f"test_accuracy.{rule}")
    for run in cell.finished:
        if run.seed not in found:
            raise InputError(
                f"no accuracy under the rule '{rule}' in run {run.run_id}"
                + ("; it was trained without a hold-out (dataset.validation)" if rule == "validation" else "")
            )
    return found


def mean_of(cell: Cell, rule: str) -> Summary | None:
    """Mean and interval of a cell's accuracies under ``rule``; None without a finished run."""
    return summarise(list(accuracies(cell, rule).values()), least=rounding(cell.images))


def make_grids(study: Study, rule: str) -> tuple[Grid, ...]:
    """One grid for each (data set, model) of the plan, ranked; made once for each rule."""
    check_rule(rule)
    if rule not in study.known:
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in study.cells:
            groups.setdefault((cell.dataset, cell.model), []).append(cell)
        study.known[rule] = tuple(_grid(dataset, model, cells, rule) for (dataset, model), cells in groups.items())
    grids: tuple[Grid, ...] = study.known[rule]
    return grids


def _grid(dataset: str, model: str, cells: Sequence[Cell], rule: str) -> Grid:
    places: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        places.setdefault((cell.method if cell.choose else cell.variant, cell.noise), []).append(cell)
    entries = {}
    for place, variants in places.items():
        cell = choose(variants, rule)
        entries[place] = Entry(cell, tuple(variants), mean_of(cell, rule))
    grid = Grid(dataset, model, rule, tuple(dict.fromkeys(row for row, _ in places)), _columns(cells), entries)
    for column in grid.columns:
        _judge(grid, column, rule)
    return grid


def _columns(cells: Iterable[Cell]) -> tuple[Column, ...]:
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.noise, cell)
    columns = []
    for label, cell in first.items():
        noise = cell.settings["noise"]
        rate = finite(noise.get("rate"))
        kind = str(noise.get("kind"))
        columns.append(Column(label, kind if rate is None else f"{kind} {100 * rate:g} %", kind, rate))
    short = [column.short for column in columns]
    return tuple(c if short.count(c.short) == 1 else replace(c, short=c.label) for c in columns)


def choose(variants: Sequence[Cell], rule: str) -> Cell:
    """The variant with the highest mean over its seeds, of test (``best``) or of hold-out accuracy (``validation``),
    at the epochs that the selection rule looks at.

    A variant with a diverged run is picked only when all have one; the first of equals wins.
    """
    how = variants[0].choose
    if how is None or len(variants) == 1:
        return variants[0]
    if how not in ("best", "validation"):
        raise InputError(f"choose: '{how}' is neither best nor validation (method {variants[0].method})")

    def quality(cell: Cell) -> tuple[bool, bool, float]:
        values = accuracies(cell, rule) if how == "best" else cell.values(f"holdout_accuracy.{rule}")
        if how == "validation" and len(values) < len(cell.finished):
            raise InputError(
                f"choose: validation needs a hold-out (dataset.validation), {cell.variant} was trained without one"
            )
        summary = summarise(list(values.values()))
        return summary is not None, cell.count("diverged") == 0, summary.mean if summary else 0.0

    return max(variants, key=quality)


def _judge(grid: Grid, column: Column, rule: str) -> None:
    """Fit the column's block model; order its methods unless a run in it is still without a result."""
    entries = grid.column(column)
    ranked = {row: entry for row, entry in entries.items() if entry.ranked}
    if not ranked:
        return
    least = max(rounding(entry.cell.images) for entry in ranked.values())
    block = fit({row: accuracies(entry.cell, rule) for row, entry in ranked.items()}, least)
    grid.blocks[column.label] = block
    order = Standing((), (), {})
    if len(ranked) > 1 and all(entry.settled for entry in entries.values()):
        order = grid.standings[column.label] = standing(block)
    for row, entry in ranked.items():
        grid.entries[row, column.label] = replace(
            entry, summary=block.summaries[row], best=row in order.best, tied=row in order.tied
        )
