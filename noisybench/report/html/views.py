"""The same report under every selection rule that all finished runs have a value of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from noisybench.errors import InputError
from noisybench.report.grid import make_grids
from noisybench.report.published import beside
from noisybench.report.results import RULES

if TYPE_CHECKING:
    from noisybench.report.document import Report


def views(report: Report) -> tuple[Report, ...]:
    """In the order of the rules; the report itself is one of them. Only grids and comparisons are those of the rule."""
    out = []
    for rule in RULES:
        if rule == report.rule:
            out.append(report)
            continue
        try:
            grids = make_grids(report.study, rule)
        except InputError:  # no hold-out: the rule has no value
            continue
        if not any(entry.summary for grid in grids for entry in grid.entries.values()):
            continue
        comparisons = tuple(
            tuple(beside(grid, comparison.source, rule) for comparison in found)
            for grid, found in zip(grids, report.comparisons, strict=True)
        )
        out.append(replace(report, rule=rule, grids=grids, comparisons=comparisons))
    return tuple(out)
