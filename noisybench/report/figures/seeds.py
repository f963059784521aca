"""Every seed as a point, beside the mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import INK, Pens, name, spread
from noisybench.report.grid import Column, Grid, accuracies
from noisybench.report.published import Comparison
from noisybench.report.results import RULES

MOST_PANELS = 8
MOST_SEEDS = 40


def pictures(grid: Grid, comparisons: Sequence[Comparison], pens: Pens) -> list[Picture]:
    """One picture with a panel for each column of the table."""
    columns = spread([c for c in grid.columns if any(e.summary for e in grid.column(c).values())], MOST_PANELS)
    if not columns or not pens.methods:
        return []
    published = any(c.partners for c in comparisons)
    text = (
        f"Test accuracy ({RULES[grid.rule]}) of every seed (dots), their mean and its 95 % interval (marker and bar)."
    )
    text += " Hollow diamonds: published scores." if published else ""
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    tall = 0.26 * len(pens.methods) + 0.75

    def paint(figure: Any) -> None:
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for panel, column in zip(axes, columns, strict=False):
            _panel(panel, grid, column, comparisons, pens)
        for panel in axes[len(columns) :]:
            panel.set_visible(False)
        axes[0].set_yticks(range(len(pens.methods)), [name(row) for row in pens.methods])
        axes[0].set_ylim(len(pens.methods) - 0.4, -0.6)

    return [Picture("seeds", "Every seed", text + pens.note, (2.1 * across + 1.6, tall * down + 0.2), paint)]


def _panel(axes: Any, grid: Grid, column: Column, comparisons: Sequence[Comparison], pens: Pens) -> None:
    for i, (row, pen) in enumerate(pens.methods.items()):
        entry = grid.entry(row, column)
        if entry is None or entry.summary is None:
            continue
        values = list(accuracies(entry.cell, grid.rule).values())[:MOST_SEEDS]
        heights = [i + 0.22 * ((k + 0.5) / len(values) - 0.5) - 0.12 for k in range(len(values))]
        axes.plot(values, heights, linestyle="none", marker=".", markersize=4, color=pen.colour)
        half = entry.summary.half_width or 0.0
        look = {"color": pen.colour, "marker": pen.marker, "markersize": 4.5, "capsize": 2}
        axes.errorbar([entry.summary.mean], [i + 0.2], xerr=[half], elinewidth=1.2, **look)
        for comparison in comparisons:
            partner = comparison.partners.get((row, column.label))
            if partner is not None:
                axes.plot([partner.score.acc], [i + 0.2], marker="D", markersize=6, markerfacecolor="none", color=INK)
    axes.set_title(name(column.short, 26))
    axes.set_xlabel("test accuracy, %")
