"""Accuracy of each class, and what is taken for what."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisybench.report.figures import heat
from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import Pens, name, spread
from noisybench.report.figures.transition import MOST_SEEDS, has_matrix, matrix_of
from noisybench.report.grid import Column, Grid

MOST_PANELS, MOST_CONFUSIONS = 4, 3


def pictures(grid: Grid, pens: Pens) -> list[Picture]:
    """Per-class accuracy of all methods drawn, and confusions of the first and the best; none without confusions."""
    columns = [c for c in grid.columns if any(_has(grid, c, row) for row in pens.methods)]
    if not columns:
        return []
    return [_per_class(grid, spread(columns, MOST_PANELS), pens), _confusions(grid, spread(columns, MOST_CONFUSIONS))]


def _has(grid: Grid, column: Column, row: str) -> bool:
    entry = grid.entry(row, column)
    return entry is not None and any(has_matrix(run, "final.confusion") for run in entry.cell.finished[:1])


def confusion(grid: Grid, column: Column, row: str) -> np.ndarray | None:
    """Confusion after the last epoch, summed over seeds, rows as shares of the true class; None without one."""
    entry = grid.entry(row, column)
    runs = [] if entry is None else entry.cell.finished[:MOST_SEEDS]
    found = [m for run in runs if (m := matrix_of(run, "final.confusion", "confusion")) is not None]
    found = [m for m in found if m.shape == found[0].shape]
    if not found:
        return None
    counts = np.sum(found, axis=0)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _per_class(grid: Grid, columns: list[Column], pens: Pens) -> Picture:
    across = min(2, len(columns))
    down = -(-len(columns) // across)
    text = (
        "Share of the test images of each class (column) that each method gets right after the last epoch, in %, mean "
        "over seeds. The fainter a square, the lower its share; the scale is each panel's own."
    )

    def paint(figure: Any) -> None:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for panel, column in zip(axes, columns, strict=False):
            found = {row: m for row in pens.methods if (m := confusion(grid, column, row)) is not None}
            sizes = {len(m) for m in found.values()}
            if len(sizes) != 1:
                panel.set_visible(False)
                continue
            values = 100 * np.stack([np.diag(m) for m in found.values()])
            low, high = float(values.min()), float(values.max())
            opacity = 0.08 + 0.92 * (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
            labels = [str(i) for i in range(sizes.pop())]
            heat.draw(panel, values, opacity=opacity, columns=labels, rows=[name(row, 24) for row in found])
            panel.set_title(name(column.short, 30))
            panel.set_xlabel("class")
        for panel in axes[len(columns) :]:
            panel.set_visible(False)

    tall = 0.24 * len(pens.methods) + 0.8
    return Picture(
        "classes", "Accuracy of each class", text + pens.note, (5.2 * across + 0.2, tall * down + 0.1), paint
    )


def _confusions(grid: Grid, columns: list[Column]) -> Picture:
    """Two panels a column: the first method of the table and the best other one."""
    text = (
        "Of the test images of each class (row) the share in % given each class (column) after the last epoch, over "
        "all seeds: the table's first method, and the best of the others."
    )

    def paint(figure: Any) -> None:
        axes = figure.subplots(len(columns), 2, squeeze=False)
        for line, column in zip(axes, columns, strict=True):
            for panel, row in zip(line, _two(grid, column), strict=True):
                matrix = None if row is None else confusion(grid, column, row)
                if row is None or matrix is None:
                    panel.set_visible(False)
                    continue
                labels = [str(i) for i in range(len(matrix))]
                heat.draw(panel, 100 * matrix, opacity=matrix, columns=labels, rows=labels, blank=0.5)
                panel.set_title(f"{name(row, 24)}, {name(column.short, 24)}")
                panel.set_xlabel("predicted class")
                panel.set_ylabel("true class")

    return Picture("confusion", "Confusion", text, (7.4, 3.5 * len(columns) + 0.1), paint)


def _two(grid: Grid, column: Column) -> tuple[str | None, str | None]:
    means = {row: e.summary.mean for row, e in grid.column(column).items() if e.summary is not None}
    first = next(iter(means), None)
    others = sorted((row for row in means if row != first), key=lambda row: -means[row])
    return first, others[0] if others else None
