"""Training curves: test accuracy, memorised and corrected by epoch, with the spread over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisybench.report.figures import transition
from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import Pen, Pens, file_name, legend_width, name, spread
from noisybench.report.grid import Column, Grid
from noisybench.report.results import Run
from noisybench.store import read_arrays

MOST_COLUMNS, MOST_METHODS, MOST_SEEDS = 4, 8, 5
POINTS = 200
"""A curve is drawn with at most so many points."""
PANELS = (("test_accuracy", "test accuracy, %"), ("memorised", "memorised, %"), ("corrected", "corrected, %"))


def pictures(grid: Grid, pens: Pens) -> list[Picture]:
    """One picture a noise, of at most four noises; of those that flip labels, unless none does."""
    drawn = [column for column in grid.columns if any(_has(grid, column, row) for row in pens.methods)]
    noisy = [column for column in drawn if transition.noisy(grid, column)]
    methods = _few(grid, pens)
    return [_picture(grid, column, methods, pens) for column in spread(noisy or drawn, MOST_COLUMNS)]


def _few(grid: Grid, pens: Pens) -> dict[str, Pen]:
    """The first method and those of the highest means, in the table's order."""
    means: dict[str, float] = {}
    for row in pens.methods:
        found = [
            e.summary.mean for c in grid.columns if (e := grid.entry(row, c)) is not None and e.summary is not None
        ]
        means[row] = sum(found) / len(found)
    order = sorted(means, key=lambda row: (row != grid.rows[0], -means[row]))[:MOST_METHODS]
    return {row: pen for row, pen in pens.methods.items() if row in order}


def _has(grid: Grid, column: Column, row: str) -> bool:
    entry = grid.entry(row, column)
    return entry is not None and any(_path(run) is not None for run in entry.cell.finished[:MOST_SEEDS])


def _path(run: Run) -> Any:
    path = None if run.home is None else run.home / "curves.npz"
    return path if path is not None and path.is_file() else None


def _picture(grid: Grid, column: Column, methods: dict[str, Pen], pens: Pens) -> Picture:
    left = len(pens.methods) + pens.left_out - len(methods)
    text = (
        "Test accuracy, and of the training images with a wrong label the share given the wrong label "
        "(memorised) and the true one (corrected), after every epoch. Lines are means over seeds, bands reach from "
        "the lowest to the highest seed."
    )
    text += f" Drawn are the first method and the highest; {left} more are in the table." if left else ""

    def paint(figure: Any) -> None:
        found = {row: curves for row in methods if (curves := _curves(grid, column, row))}
        panels = [(key, label) for key, label in PANELS if any(key in curves for curves in found.values())]
        axes = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
        for panel, (key, label) in zip(axes, panels, strict=False):
            for row, curves in found.items():
                if key in curves:
                    _line(panel, curves[key], methods[row])
            panel.set_xlabel("epoch")
            panel.set_title(label)
        _legend(figure, methods)

    return Picture(
        f"curves-{file_name(column.label)}",
        f"Training curves, {column.short}",
        text,
        (9.2 + legend_width(methods), 3.3),
        paint,
    )


def _curves(grid: Grid, column: Column, row: str) -> dict[str, np.ndarray]:
    """Column of ``curves.npz`` -> values ``[seed, epoch]``, as long as the shortest; only what is finite somewhere."""
    entry = grid.entry(row, column)
    seeds = [] if entry is None else [read for run in entry.cell.finished[:MOST_SEEDS] if (read := _read(run))]
    out = {}
    for key, _ in PANELS:
        rows = [seed[key] for seed in seeds if key in seed]
        if rows:
            shortest = min(map(len, rows))
            table = np.stack([values[:shortest] for values in rows]).astype(float)
            if np.isfinite(table).any():
                out[key] = table
    return out


def _read(run: Run) -> dict[str, np.ndarray]:
    """The curves of one run; empty where they are missing, damaged or not the ones its record names."""
    path = _path(run)
    try:
        arrays, content = read_arrays(path) if path is not None else ({}, "")
    except ValueError:
        return {}
    return arrays if content == (run.result or {}).get("curves_sha256") else {}


def _line(axes: Any, table: np.ndarray, pen: Pen) -> None:
    epochs = table.shape[1]
    index = np.unique(np.linspace(0, epochs - 1, min(epochs, POINTS)).round().astype(int))
    shown = table[:, index]
    x = index + 1
    if len(shown) > 1:
        axes.fill_between(x, shown.min(axis=0), shown.max(axis=0), color=pen.colour, alpha=0.15, linewidth=0)
    every = max(1, len(x) // 6)
    axes.plot(x, shown.mean(axis=0), markevery=every, **{**pen.plot(), "markersize": 4})


def _legend(figure: Any, methods: dict[str, Pen]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name(row), **pen.plot()) for row, pen in methods.items()]
    figure.legend(handles=handles, loc="outside right upper", handlelength=3.2)
