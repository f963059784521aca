"""Every method against one baseline, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noisybench.errors import InputError
from noisybench.registry import did_you_mean
from noisybench.report import words
from noisybench.report.comparisons import Comparison, against
from noisybench.report.grid import Column, Grid, accuracies
from noisybench.report.ranks import FEWEST_PAIRS, signed_rank

MEANING = (
    "Accuracy minus the baseline's on the same seeds, in points; ± holds for all of a column together (Dunnett, 95 %). "
    "**Bold**: told apart from it."
)
TESTED = f"p: Wilcoxon's signed-rank test of this pair alone, given from {FEWEST_PAIRS} seeds on."


@dataclass(frozen=True)
class Cell:
    """One place of the table against the baseline."""

    text: str
    apart: bool = False
    tested: bool = False


def check_baseline(named: str | None, grids: Sequence[Grid]) -> None:
    """InputError unless a named baseline is a row of one of the tables."""
    rows = list(dict.fromkeys(row for grid in grids for row in grid.rows))
    if named is not None and named not in rows:
        raise InputError(
            f"no method '{named}' to compare with{did_you_mean(named, rows)}; there are: {', '.join(rows)}"
        )


def control(grid: Grid, named: str | None) -> str | None:
    """The named baseline, None where the grid lacks it; without a name the first row."""
    if named is None:
        return grid.rows[0] if grid.rows else None
    return named if named in grid.rows else None


def against_baseline(grid: Grid, column: Column, named: str | None) -> dict[str, Comparison]:
    """Method -> its comparison with the baseline; empty where a run of the column is without a result."""
    baseline = control(grid, named)
    block = grid.blocks.get(column.label)
    if baseline is None or block is None or column.label not in grid.standings or baseline not in block.summaries:
        return {}
    key = ("against", column.label, baseline)
    if key not in grid.known:
        grid.known[key] = against(block, baseline)
    found: dict[str, Comparison] = grid.known[key]
    return found


def wilcoxon(grid: Grid, column: Column, row: str, named: str | None) -> float | None:
    """p of the signed-rank test of a method and the baseline; None below six common seeds."""
    baseline = control(grid, named)
    if row not in against_baseline(grid, column, named) or baseline is None:
        return None
    first, second = grid.entry(row, column), grid.entry(baseline, column)
    if first is None or second is None:
        return None
    key = ("signed rank", column.label, row, baseline)
    if key not in grid.known:
        grid.known[key] = signed_rank(accuracies(first.cell, grid.rule), accuracies(second.cell, grid.rule))
    p: float | None = grid.known[key]
    return p


def table_rows(grid: Grid, named: str | None) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """Head and rows: every method but the baseline; no rows where no difference has an interval."""
    found = {column.label: against_baseline(grid, column, named) for column in grid.columns}
    rows: list[tuple[str, list[Cell]]] = []
    if all(c.half_width is None for comparisons in found.values() for c in comparisons.values()):
        return [], rows
    for row in grid.rows:
        if any(row in comparisons for comparisons in found.values()):
            rows.append((row, [_cell(grid, c, row, named, found[c.label].get(row)) for c in grid.columns]))
    return ["method", *(c.short for c in grid.columns)], rows


def _cell(grid: Grid, column: Column, row: str, named: str | None, comparison: Comparison | None) -> Cell:
    if comparison is None:
        return Cell("–")
    number = f"{comparison.difference:+.2f}" if round(comparison.difference, 2) else "0.00"
    text = number if comparison.half_width is None else f"{number} ± {comparison.half_width:.2f}"
    p = wilcoxon(grid, column, row, named)
    return Cell(text if p is None else f"{text} ({words.p_is(p)})", comparison.apart, p is not None)


def counts(grid: Grid, named: str | None) -> str | None:
    """How many methods are above, below and not told apart from the baseline; None where nothing is compared."""
    parts = []
    for column in grid.columns:
        found = against_baseline(grid, column, named).values()
        if any(comparison.half_width is not None for comparison in found):
            above = sum(comparison.apart and comparison.difference > 0 for comparison in found)
            below = sum(comparison.apart and comparison.difference < 0 for comparison in found)
            parts.append(f"{column.short}: {above} / {len(found) - above - below} / {below}")
    if not parts:
        return None
    return f"Methods above / not told apart from / below {control(grid, named)} (Dunnett, 95 %): {'; '.join(parts)}."
