"""Mean ranks over data sets: what a critical-difference diagram shows.

The runs of one data set are no independent samples, so a data set is one block, whatever its noises and networks; its
ranks are those of the methods' mean accuracy over its columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from noisybench.report import words
from noisybench.report.grid import Grid
from noisybench.report.ranks import FEWEST_BLOCKS, Ranking, friedman

MEANING = (
    "Mean rank over data sets (1 is the best); each data set counts once, by the mean accuracy over its columns. "
    "Methods whose mean ranks differ by less than the critical difference (Nemenyi, 95 %) are not told apart."
)


def overall(grids: Sequence[Grid]) -> Ranking | None:
    """Ranks of the methods that every column ranks; None below ten data sets or where a column lacks a result."""
    columns = [(grid.dataset, grid, column.label) for grid in grids for column in grid.columns]
    datasets = list(dict.fromkeys(dataset for dataset, *_ in columns))
    if len(datasets) < FEWEST_BLOCKS or any(label not in grid.standings for _, grid, label in columns):
        return None
    methods = set.intersection(*(set(grid.blocks[label].adjusted) for _, grid, label in columns))
    table = {}
    for method in sorted(methods):
        means: dict[str, list[float]] = {dataset: [] for dataset in datasets}
        for dataset, grid, label in columns:
            means[dataset].append(grid.blocks[label].adjusted[method])
        table[method] = [math.fsum(values) / len(values) for values in means.values()]
    return friedman(table)


def sentences(ranking: Ranking) -> list[str]:
    """Test, critical difference and the groups that are not told apart."""
    lines = [
        f"Over {ranking.blocks} data sets: Friedman's test (Iman and Davenport's F) {words.p_is(ranking.p)}; "
        f"critical difference {ranking.critical:.2f} ranks."
    ]
    lines += [f"Not told apart: {', '.join(group)}." for group in ranking.groups]
    return lines
