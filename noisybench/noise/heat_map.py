"""A transition matrix as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

NUMBERS, NAMES = 20, 40
"""Cells carry numbers up to this many classes, axes carry names up to that many."""


def heat_map(transition: np.ndarray, class_names: Sequence[str], *, title: str = "", form: str = "svg") -> bytes:
    """SVG (or ``form="png"``) of T ``[K, K]``: row = true class, column = label, colour = share of the row.

    No date is written and identifiers are salted with a fixed word: the same matrix gives the same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    classes = len(transition)
    side = min(max(3.5, 0.45 * classes), 14.0)
    with matplotlib.rc_context({"svg.hashsalt": "noisybench", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(side + 1.2, side), layout="constrained")
        axes = figure.add_subplot()
        picture = axes.imshow(transition, cmap="Blues", vmin=0, vmax=1)
        axes.set_xlabel("label")
        axes.set_ylabel("true class")
        if classes <= NAMES:
            axes.set_xticks(range(classes), class_names, rotation=90, fontsize=7)
            axes.set_yticks(range(classes), class_names, fontsize=7)
        if classes <= NUMBERS:
            for i, j in np.argwhere(np.asarray(transition) >= 0.0005):
                share = float(transition[i, j])
                colour = "white" if share > 0.5 else "black"
                axes.text(j, i, f"{100 * share:.1f}", ha="center", va="center", fontsize=6, color=colour)
        figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8)
        if title:
            axes.set_title(title, fontsize=9)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, metadata={"Date": None} if form == "svg" else None, dpi=150)
    return buffer.getvalue()
