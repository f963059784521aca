"""How methods look: the same colour, marker and line in every picture of a table.

The colours differ in lightness and in the eyes of the colour-blind; markers and lines tell methods apart without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from noisybench.report.grid import Grid

FACE = "DejaVu Sans"
INK, FAINT, HEAT = "#1b1c1d", "#c9cacb", "#0a64a4"
SHADES: dict[str, tuple[str, str]] = {
    INK: ("ink", "#e8e6e3"),
    FAINT: ("faint", "#4a4d50"),
    HEAT: ("heat", "#2f7fc4"),
    "#0072b2": ("c1", "#5db7f0"),
    "#c94f00": ("c2", "#ff9550"),
    "#007a5a": ("c3", "#3ecfa3"),
    "#a8327a": ("c4", "#f08cc8"),
    "#8a6a00": ("c5", "#e6c045"),
    "#5a5fb8": ("c6", "#adb0ff"),
}
"""Colour on white -> the page's variable for it, and the colour on a dark ground."""
COLOURS = (INK, *list(SHADES)[3:])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
MOST_METHODS = 14
"""More lines than these are not told apart."""
LONGEST_NAME = 30
T = TypeVar("T")


@dataclass(frozen=True)
class Pen:
    """How one method looks."""

    colour: str
    marker: str
    line: Any

    def plot(self) -> dict[str, Any]:
        """Keywords of ``Axes.plot``."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, "linewidth": 1.4, "markersize": 5}


def pen(index: int) -> Pen:
    """The look of the method at this place of a table."""
    return Pen(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])


@dataclass(frozen=True)
class Pens:
    """The methods that are drawn, in the table's order, and how. ``left_out``: how many others have a mean."""

    methods: Mapping[str, Pen]
    left_out: int

    @property
    def note(self) -> str:
        """What a picture says of those left out; empty when there are none."""
        if not self.left_out:
            return ""
        return (
            f" Drawn are the {len(self.methods)} methods with the highest means; {self.left_out} more are in the table."
        )


def choose_methods(grid: Grid) -> Pens:
    """All methods with a mean, or the highest of them (over their columns) and the first, the usual baseline."""
    means: dict[str, float] = {}
    for row in grid.rows:
        found = [
            e.summary.mean for c in grid.columns if (e := grid.entry(row, c)) is not None and e.summary is not None
        ]
        if found:
            means[row] = sum(found) / len(found)
    order = sorted(means, key=lambda row: (row != grid.rows[0], -means[row]))
    kept = set(order[:MOST_METHODS])
    shown = [row for row in grid.rows if row in kept]
    return Pens({row: pen(i) for i, row in enumerate(shown)}, len(means) - len(shown))


def name(text: str, most: int = LONGEST_NAME) -> str:
    """A name as a picture shows it: one line, not too long, nothing that XML refuses or matplotlib takes for a sign."""
    text = " ".join(re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return f" {text}" if text.startswith("_") else text


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly over all, first and last among them."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def legend_width(names: Iterable[str]) -> float:
    """Inches that a legend of these names needs beside the panels."""
    return 0.75 + 0.07 * max((len(name(text)) for text in names), default=0)


def file_name(text: str) -> str:
    """``symmetric 40 %`` -> ``symmetric-40``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "x"


def rc_params() -> Any:
    """Settings under which every picture is drawn: fixed identifiers, text as text, plain ground."""
    return {
        "svg.hashsalt": "noisybench",
        "svg.fonttype": "none",
        "font.family": [FACE],
        "font.size": 9,
        "text.parse_math": False,
        "text.usetex": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "axes.formatter.use_mathtext": False,
        "grid.color": FAINT,
        "grid.linewidth": 0.5,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.bbox": None,
        "path.sketch": None,
    }
