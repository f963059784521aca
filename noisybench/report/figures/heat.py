"""A matrix as squares whose opacity is the value: readable on light and dark ground alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisybench.report.figures.style import HEAT, INK

NUMBERS = 20
"""Squares carry numbers up to so many columns; larger matrices are one raster image."""


def draw(
    axes: Any,
    values: np.ndarray,
    *,
    opacity: np.ndarray,
    columns: Sequence[str],
    rows: Sequence[str],
    decimals: int = 0,
    blank: float = 0.0,
) -> None:
    """``values`` ``[R, C]`` are printed unless below ``blank``; ``opacity``, 0 to 1, is how strong each square is."""
    axes.grid(False)
    height, width = values.shape
    if width <= NUMBERS:
        _squares(axes, values, opacity, decimals, blank)
        axes.set_xticks(range(width), columns)
        axes.set_yticks(range(height), rows)
    else:
        rgba = np.zeros((height, width, 4))
        rgba[..., :3] = [int(HEAT[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        rgba[..., 3] = np.nan_to_num(opacity).clip(0, 1)
        axes.imshow(rgba, interpolation="nearest", aspect="auto")
        if height <= NUMBERS:
            axes.set_yticks(range(height), rows)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.tick_params(length=0, labelsize=7)


def _squares(axes: Any, values: np.ndarray, opacity: np.ndarray, decimals: int, blank: float) -> None:
    from matplotlib.patches import Rectangle

    for (i, j), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        strong = float(np.clip(opacity[i, j], 0, 1))
        if strong >= 0.005:
            square = Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=HEAT, alpha=round(strong, 3), linewidth=0)
            square.set_in_layout(False)  # it lies inside the axes: nothing to be measured
            axes.add_artist(square)  # not add_patch: the limits are set, nothing is to be measured
        if value >= blank:
            colour = "#ffffff" if strong > 0.78 else INK
            text = f"{value:.{decimals}f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=6, color=colour, in_layout=False)
