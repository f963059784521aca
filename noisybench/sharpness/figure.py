"""The loss surfaces as one figure: equal scales, equal bytes for equal numbers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from noisybench.sharpness.landscape import Surfaces

COLOURS = "viridis"
LEVELS = 15


def draw(
    found: Surfaces, names: list[str], *, ceiling: float | None = None, title: str = "", form: str = "svg"
) -> bytes:
    """SVG (or ``form="png"``) with, for each run, the surface above and its contours below.

    All share axes, colours and contour levels, from the lowest loss of all runs to ``ceiling`` (default: the largest
    loss of the flattest run's surface, so that it fills its panel); what lies above is cut off at the ceiling. No date
    is written and identifiers are salted with a fixed word: the same numbers give the same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context({"svg.hashsalt": "noisybench", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        engine = ConstrainedLayoutEngine(rect=(0.03, 0.01, 0.96, 0.98))  # the outermost labels need the margin
        figure = Figure(figsize=(4.2 * len(names) + 0.8, 7.6), layout=engine)
        values = np.where(np.isfinite(found.values), found.values, np.inf)
        low = float(values.min())
        high = float(values.max(axis=(1, 2)).min()) if ceiling is None else ceiling
        high = high if np.isfinite(high) and high > low else low + 1.0
        cut = np.minimum(values, high)
        mappable: Any = None
        for column, (name, surface) in enumerate(zip(names, cut, strict=True)):
            _surface(figure, len(names), column, name, found.steps, surface, (low, high))
            mappable = _contours(figure, len(names), column, found.steps, surface, (low, high))
        bar = figure.colorbar(mappable, ax=figure.axes[1::2], label="loss", shrink=0.9, format="%.2f")
        bar.ax.tick_params(labelsize=6)
        if title:
            figure.suptitle(title, fontsize=9)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, metadata={"Date": None} if form == "svg" else None, dpi=110)
    return buffer.getvalue()


def _surface(
    figure: Any,
    columns: int,
    column: int,
    name: str,
    steps: np.ndarray,
    surface: np.ndarray,
    limits: tuple[float, float],
) -> None:
    axes = figure.add_subplot(2, columns, column + 1, projection="3d")
    x, y = np.meshgrid(steps, steps, indexing="ij")
    axes.plot_surface(
        x, y, surface, cmap=COLOURS, vmin=limits[0], vmax=limits[1], rstride=1, cstride=1, linewidth=0.1, edgecolor="w"
    )
    axes.set_zlim(*limits)
    axes.view_init(elev=30, azim=-55)
    axes.set_title(name, fontsize=9)
    axes.tick_params(labelsize=6)


def _contours(
    figure: Any, columns: int, column: int, steps: np.ndarray, surface: np.ndarray, limits: tuple[float, float]
) -> Any:
    axes = figure.add_subplot(2, columns, columns + column + 1)
    levels = np.linspace(*limits, LEVELS)
    filled = axes.contourf(steps, steps, surface.T, levels=levels, cmap=COLOURS, extend="max")
    axes.contour(steps, steps, surface.T, levels=levels, colors="w", linewidths=0.3)
    axes.plot([0], [0], marker="+", color="r")
    axes.set_aspect("equal")
    axes.set_xlabel("first direction", fontsize=7)
    axes.set_ylabel("second direction", fontsize=7)
    axes.tick_params(labelsize=6)
    return filled
