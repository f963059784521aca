"""What accuracy costs: seconds of training and gradient evaluations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import Pens, legend_width, name
from noisybench.report.grid import Entry, Grid
from noisybench.report.results import RULES, Run, finite
from noisybench.spec import at

WIDE = 4.0
"""Costs that differ by more than this factor are drawn on a logarithmic axis."""


def pictures(grid: Grid, pens: Pens) -> list[Picture]:
    """One picture with a panel for each cost that is known; none where none is."""
    panels = [
        (label, found)
        for label, cost in (("seconds of training a run", seconds), ("gradient evaluations a run", evaluations))
        if (found := points(grid, pens, cost))
    ]
    if not panels:
        return []
    devices = sorted({_device(run) for e in grid.entries.values() for run in e.cell.finished} - {""})
    text = (
        f"Test accuracy ({RULES[grid.rule]}), mean over the table's {len(grid.columns)} noises, against the mean cost "
        f"of one run. Seconds are a run's own, gradient evaluations include its teacher's."
    )
    text += f" Measured on: {', '.join(devices[:4])}{' and others' if len(devices) > 4 else ''}." if devices else ""
    text += " Seconds of different devices must not be compared." if len(devices) > 1 else ""
    text += " Methods without a mean at every noise are left out."

    def paint(figure: Any) -> None:
        from matplotlib.lines import Line2D

        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (label, found) in zip(axes, panels, strict=True):
            for row, (x, y) in found.items():
                panel.plot([x], [y], **{**pens.methods[row].plot(), "linestyle": "none", "markersize": 7})
            _scale(panel, [x for x, _ in found.values()])
            panel.set_xlabel(label)
        axes[0].set_ylabel("test accuracy, %")
        shown = [row for row in pens.methods if any(row in found for _, found in panels)]
        looks = [(row, {**pens.methods[row].plot(), "linestyle": "none"}) for row in shown]
        handles = [Line2D([], [], label=name(row), **look) for row, look in looks]
        figure.legend(handles=handles, loc="outside right upper")

    size = (3.7 * len(panels) + legend_width(pens.methods), max(3.4, 0.22 * len(pens.methods) + 0.8))
    return [Picture("cost", "Accuracy against cost", text + pens.note, size, paint)]


def seconds(run: Run) -> float | None:
    """Seconds of training, without evaluation and checkpoints."""
    return finite(at(run.provenance or {}, "seconds.train"))


def evaluations(run: Run) -> float | None:
    """Gradients of single images, SAM's second pass and the teacher's counted."""
    return run.number("gradient_evaluations")


def points(grid: Grid, pens: Pens, cost: Callable[[Run], float | None]) -> dict[str, tuple[float, float]]:
    """Method -> (mean cost, mean accuracy) of the methods that have both at every noise."""
    out = {}
    for row in pens.methods:
        entries = [grid.entry(row, column) for column in grid.columns]
        found = [pair for e in entries if e is not None and (pair := _point(e, cost)) is not None]
        if found and len(found) == len(grid.columns):
            out[row] = (sum(x for x, _ in found) / len(found), sum(y for _, y in found) / len(found))
    return out


def _point(entry: Entry, cost: Callable[[Run], float | None]) -> tuple[float, float] | None:
    costs = [value for run in entry.cell.finished if (value := cost(run)) is not None and value > 0]
    return None if not costs or entry.summary is None else (sum(costs) / len(costs), entry.summary.mean)


def _device(run: Run) -> str:
    told = run.provenance or {}
    return str(told.get("device_name") or told.get("device") or "")


def _scale(axes: Any, values: list[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if max(values) > WIDE * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.1 * max(values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def plain(value: float) -> str:
    """``1.5 M``, ``20 k``, ``0.5``."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
