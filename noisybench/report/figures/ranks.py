"""Critical-difference diagram: mean ranks over ten or more data sets on a line, bars over what is not told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import INK, name
from noisybench.report.grid import Grid
from noisybench.report.overall import overall
from noisybench.report.ranks import Ranking

MOST_METHODS = 30
"""Names on two sides of one line; more are not read."""
WIDE = 9.0
"""Inches, of which the names take nearly two thirds."""
LINE = 0.2
"""Inches between two names, and half as much between two bars."""


def pictures(grids: Sequence[Grid]) -> list[Picture]:
    """One picture over all tables; none below ten data sets or where a column lacks a result."""
    ranking = overall(grids)
    return [] if ranking is None else [diagram(ranking)]


def diagram(ranking: Ranking) -> Picture:
    """Best on the left. Names hang on their rank, the better half to the left; a bar joins a group."""
    order = sorted(ranking.ranks, key=lambda method: (ranking.ranks[method], method))
    shown = {method: ranking.ranks[method] for method in order[:MOST_METHODS]}
    ends = bars(ranking, shown)
    text = (
        f"Mean rank over {ranking.blocks} data sets, 1 is the best; each data set counts once. Bars join methods that "
        f"are not told apart: their ranks differ by less than the critical difference, {ranking.critical:.2f} "
        "(Nemenyi, 95 %)."
    )
    if len(order) > len(shown):
        text += f" Drawn are the {len(shown)} best; {len(order) - len(shown)} more are in the table."
    rows = -(-len(shown) // 2)
    below = 0.12 + LINE / 2 * len(ends)
    tall = 0.75 + below + LINE * rows + 0.1

    def paint(figure: Any) -> None:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        figure.set_layout_engine("none")
        _paint(axes, ranking, shown, ends, tall, below)

    return Picture("ranks", "Mean ranks and critical difference", text, (WIDE, tall), paint)


def bars(ranking: Ranking, shown: Mapping[str, float]) -> list[tuple[float, float]]:
    """From the lowest to the highest rank of every group, as far as its methods are shown."""
    found = [[shown[method] for method in group if method in shown] for group in ranking.groups]
    return [(min(ranks), max(ranks)) for ranks in found if len(ranks) > 1]


def _paint(
    axes: Any,
    ranking: Ranking,
    shown: Mapping[str, float],
    ends: Sequence[tuple[float, float]],
    tall: float,
    below: float,
) -> None:
    """In inches from the top left corner, ranks scaled onto the middle."""
    left, right, line = 2.8, WIDE - 2.8, 0.62
    most = max(2, len(ranking.ranks))
    axes.set_axis_off()
    axes.set_xlim(0, WIDE)
    axes.set_ylim(tall, 0)

    def place(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (most - 1)

    def draw(x: Sequence[float], y: Sequence[float], **look: Any) -> None:
        axes.plot(x, y, **{"color": INK, "linewidth": 0.9, "solid_capstyle": "butt", **look})

    draw([left, right], [line, line])
    step = max(1, -(-most // 10))
    for rank in sorted({1, *range(step, most + 1, step)}):
        draw([place(rank)] * 2, [line - 0.06, line])
        axes.text(place(rank), line - 0.09, str(rank), ha="center", va="bottom", fontsize=8)
    width = min(place(1 + ranking.critical), right) - left
    draw([left, left + width], [0.2, 0.2], linewidth=1.4)
    for x in (left, left + width):
        draw([x, x], [0.15, 0.25])
    axes.text(left + width + 0.08, 0.2, f"critical difference {ranking.critical:.2f}", va="center", fontsize=8)
    half = -(-len(shown) // 2)
    for i, (method, rank) in enumerate(shown.items()):
        better = i < half
        y = line + below + LINE * ((i if better else len(shown) - 1 - i) + 0.6)
        edge = left - 0.1 if better else right + 0.1
        draw([place(rank), place(rank), edge], [line, y, y], linewidth=0.6)
        words = f"{name(method, 26)}  {rank:.2f}" if better else f"{rank:.2f}  {name(method, 26)}"
        axes.text(edge + (-0.05 if better else 0.05), y, words, ha="right" if better else "left", va="center")
        draw([place(rank)], [line], marker="o", markersize=3.5)
    for i, (low, high) in enumerate(ends):
        y = line + 0.12 + LINE / 2 * i
        draw([place(low) - 0.03, place(high) + 0.03], [y, y], linewidth=3.0)
