"""Test accuracy against the noise rate, with 95 % intervals and the published scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import INK, Pens, legend_width, name
from noisybench.report.grid import Column, Grid
from noisybench.report.published import Comparison
from noisybench.report.results import RULES
from noisybench.spec import canonical_json

MOST_PANELS = 4


def groups(grid: Grid) -> list[list[Column]]:
    """Columns that differ in nothing but the rate, by rate; only groups of two or more."""
    found: dict[str, list[Column]] = {}
    for column in grid.columns:
        if column.rate is not None:
            noise = dict(next(iter(grid.column(column).values())).cell.settings["noise"])
            noise.pop("rate", None)
            found.setdefault(canonical_json(noise), []).append(column)
    return [sorted(columns, key=lambda c: c.rate or 0.0) for columns in found.values() if len(columns) > 1]


def pictures(grid: Grid, comparisons: Sequence[Comparison], pens: Pens) -> list[Picture]:
    """One picture with a panel for each kind of noise; none where no kind has two rates."""
    panels = groups(grid)[:MOST_PANELS]
    if not panels or not pens.methods:
        return []
    sources = [c.source.name for c in comparisons if c.partners]
    text = f"Mean test accuracy ({RULES[grid.rule]}) of each method against the noise rate; bars are 95 % intervals."
    if sources:
        text += f" Hollow markers: published scores ({', '.join(sources)}); the footnotes say which may be compared."
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    size = (
        (5.4 if across == 1 else 4.2 * across) + legend_width(pens.methods),
        max(3.4 * down + 0.2, 0.22 * len(pens.methods) + 1.2),
    )

    def paint(figure: Any) -> None:
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for panel, columns in zip(axes, panels, strict=False):
            _panel(panel, grid, columns, comparisons, pens)
        for panel in axes[len(panels) :]:
            panel.set_visible(False)
        for row in range(down):
            axes[row * across].set_ylabel("test accuracy, %")
        _legend(figure, axes[0], pens, bool(sources))

    return [Picture("accuracy", "Accuracy against noise rate", text + pens.note, size, paint)]


def _panel(axes: Any, grid: Grid, columns: Sequence[Column], comparisons: Sequence[Comparison], pens: Pens) -> None:
    rates = [100 * (column.rate or 0.0) for column in columns]
    width = 0.3 * min(b - a for a, b in itertools.pairwise(rates))
    for i, (row, pen) in enumerate(pens.methods.items()):
        shift = width * ((i + 0.5) / len(pens.methods) - 0.5)
        places = [(rate + shift, column, grid.entry(row, column)) for rate, column in zip(rates, columns, strict=True)]
        found = [(x, e.summary.mean, e.summary.half_width or 0.0) for x, _, e in places if e and e.summary]
        if found:
            x, y, bars = zip(*found, strict=True)
            axes.errorbar(x, y, yerr=bars, capsize=2, elinewidth=0.9, **pen.plot())
        theirs = [
            (x, partner.score.acc)
            for x, column, _ in places
            for c in comparisons
            if (partner := c.partners.get((row, column.label))) is not None
        ]
        if theirs:
            x, y = zip(*theirs, strict=True)
            axes.plot(x, y, linestyle="none", marker=pen.marker, markersize=8, markerfacecolor="none", color=pen.colour)
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlabel("noise rate, %")
    axes.set_title(name(columns[0].kind, 40))


def _legend(figure: Any, axes: Any, pens: Pens, published: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name(row), **pen.plot()) for row, pen in pens.methods.items()]
    if published:
        hollow: dict[str, Any] = {
            "marker": "o",
            "markersize": 8,
            "markerfacecolor": "none",
            "linestyle": "none",
            "color": INK,
        }
        handles.append(Line2D([], [], label="published", **hollow))
    figure.legend(handles=handles, loc="outside right upper", handlelength=3.2)
