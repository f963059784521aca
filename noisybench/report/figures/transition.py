"""The measured transition matrices: of every true class, the share that carries each label."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisybench.report.figures import heat
from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import name, spread
from noisybench.report.grid import Column, Grid
from noisybench.report.results import Run
from noisybench.spec import at
from noisybench.store import read_arrays

MOST_PANELS, MOST_SEEDS = 6, 5


def pictures(grid: Grid) -> list[Picture]:
    """One picture with a panel for each noise that flips labels; none where nothing was measured."""
    columns = spread(
        [c for c in grid.columns if noisy(grid, c) and has_matrix(_runs(grid, c)[0], "noise.transition")], MOST_PANELS
    )
    if not columns:
        return []
    across = min(3, len(columns))
    down = -(-len(columns) // across)

    def paint(figure: Any) -> None:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for panel, column in zip(axes, columns, strict=False):
            matrix, seeds = mean_matrix(grid, column)
            if matrix is None:
                panel.set_visible(False)
                continue
            labels = [str(i) for i in range(len(matrix))]
            heat.draw(panel, 100 * matrix, opacity=matrix, columns=labels, rows=labels, decimals=1, blank=0.05)
            panel.set_title(f"{name(column.short, 30)} ({seeds} {'seed' if seeds == 1 else 'seeds'})")
            panel.set_xlabel("label")
            panel.set_ylabel("true class")
        for panel in axes[len(columns) :]:
            panel.set_visible(False)

    text = "Of each true class (row) the share in % that carries each label (column)."
    return [Picture("transition", "Measured transition matrices", text, (3.5 * across + 0.2, 3.4 * down + 0.1), paint)]


def noisy(grid: Grid, column: Column) -> bool:
    """Labels were flipped in it, as measured."""
    return any((run.number("noise.realised_rate") or 0.0) > 0 for run in _runs(grid, column))


def has_matrix(run: Run, path: str) -> bool:
    """The record holds the matrix, or there are curves that may."""
    return at(run.result or {}, path) is not None or (run.home is not None and (run.home / "curves.npz").is_file())


def _runs(grid: Grid, column: Column) -> list[Run]:
    """Finished runs of the first entry that has any, one a seed: all methods of a column see the same labels."""
    for entry in grid.column(column).values():
        if entry.cell.finished:
            return list(entry.cell.finished)
    return []


def mean_matrix(grid: Grid, column: Column) -> tuple[np.ndarray | None, int]:
    """Mean of the matrices over seeds ``[K, K]`` and how many there were."""
    found = [m for run in _runs(grid, column)[:MOST_SEEDS] if (m := matrix_of(run)) is not None]
    found = [m for m in found if m.shape == found[0].shape]
    return (np.mean(found, axis=0), len(found)) if found else (None, 0)


def matrix_of(run: Run, path: str = "noise.transition", key: str = "transition") -> np.ndarray | None:
    """A square matrix of a run, from its record or, of many classes, from its curves; None where there is none."""
    value = at(run.result or {}, path)
    if value is None and run.home is not None and (run.home / "curves.npz").is_file():
        try:
            arrays, content = read_arrays(run.home / "curves.npz")
        except ValueError:
            return None
        value = arrays.get(key) if content == (run.result or {}).get("curves_sha256") else None
    try:
        matrix = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return matrix if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and np.isfinite(matrix).all() else None
