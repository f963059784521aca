"""How the order of the methods changes with the selection rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noisybench.errors import InputError
from noisybench.report.grid import Column, Grid, make_grids
from noisybench.report.ranks import kendall, places
from noisybench.report.results import RULES, Study

MEANING = (
    "Kendall's tau between a column's order in the table above and its order under another selection rule: "
    "1 the same, -1 reversed."
)
MOST = 5
"""Of one column and rule, so many moves are told."""


@dataclass(frozen=True)
class Move:
    """A method whose place is another one under another rule."""

    method: str
    before: int
    after: int

    def __str__(self) -> str:
        """``SAM 1 → 3``."""
        return f"{self.method} {self.before} → {self.after}"


@dataclass(frozen=True)
class Order:
    """A table's order under one rule, by column label: places, Kendall's tau with the report's rule, who moves.

    Columns that are not ranked are absent; tau is None where a rule orders nothing (all means equal).
    """

    rule: str
    places: Mapping[str, Mapping[str, int]]
    tau: Mapping[str, float | None]
    moves: Mapping[str, tuple[Move, ...]]

    @property
    def tells(self) -> bool:
        """It orders some column, or somebody moves."""
        return any(tau is not None for tau in self.tau.values()) or any(self.moves.values())


def orders(study: Study, grids: Sequence[Grid], rule: str) -> tuple[tuple[Order, ...], ...]:
    """For each grid its order under every rule that all finished runs have a value of, the report's own among them."""
    tables = {rule: tuple(grids)}
    for other in RULES:
        if other != rule:
            try:
                tables[other] = make_grids(study, other)
            except InputError:  # no hold-out: the rule has no value
                continue
    known = [name for name in RULES if name in tables]
    return tuple(tuple(_order(grid, tables[name][i], name) for name in known) for i, grid in enumerate(grids))


def _order(grid: Grid, other: Grid, rule: str) -> Order:
    found: dict[str, dict[str, int]] = {}
    tau: dict[str, float | None] = {}
    moves: dict[str, tuple[Move, ...]] = {}
    for label in (column.label for column in grid.columns):
        if label in grid.standings and label in other.standings:
            here, there = grid.blocks[label].adjusted, other.blocks[label].adjusted
            before, found[label] = places(here), places(there)
            tau[label] = kendall(here, there)
            moved = [Move(m, before[m], to) for m, to in found[label].items() if m in before and before[m] != to]
            moves[label] = tuple(sorted(moved, key=lambda move: (-abs(move.after - move.before), move.before)))
    return Order(rule, found, tau, moves)


def table_rows(grid: Grid, found: Sequence[Order]) -> tuple[list[str], list[list[str]]]:
    """Head and rows (other rule by noise) of the taus; no rows without another rule, or where nothing is ordered."""
    others = [order for order in found if order.rule != grid.rule and order.tells]
    rows = [[RULES[order.rule], *(_tau(order, column) for column in grid.columns)] for order in others]
    return ["rule", *(column.short for column in grid.columns)], rows


def _tau(order: Order, column: Column) -> str:
    tau = order.tau.get(column.label)
    return "–" if tau is None else f"{tau:.2f}"


def moved(grid: Grid, found: Sequence[Order]) -> list[str]:
    """Who moves under which rule, the largest moves first."""
    lines = []
    for order in found:
        for column in grid.columns:
            moves = order.moves.get(column.label, ()) if order.rule != grid.rule else ()
            if moves:
                rest = f", and {len(moves) - MOST} more" if len(moves) > MOST else ""
                told = ", ".join(map(str, moves[:MOST]))
                lines.append(f"{RULES[order.rule]}, {column.short}: {told}{rest}")
    return lines


def in_short(grid: Grid, found: Sequence[Order]) -> str | None:
    """One line for a terminal; None where there is nothing to compare."""
    _, rows = table_rows(grid, found)
    if not rows:
        return None
    told = "; ".join(f"{row[0]} {', '.join(row[1:])}" for row in rows)
    return f"Order under other selection rules (Kendall's tau, column by column): {told}."
