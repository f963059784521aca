"""The report's pictures, as SVG with text as text or as PNG: the same records give the same bytes.

Nothing is drawn before ``Picture.svg`` or ``Picture.png`` is called; curves are read only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisybench.report.figures import accuracy, classes, cost, curves, ranks, seeds, transition
from noisybench.report.figures.picture import Picture
from noisybench.report.figures.style import choose_methods

if TYPE_CHECKING:
    from noisybench.report.document import Report

__all__ = ["MOST_TABLES", "Picture", "across", "pictures"]

MOST_TABLES = 4
"""Pictures are made of so many tables (data set and model), the first of the plan."""


def pictures(report: Report) -> tuple[tuple[Picture, ...], ...]:
    """For each of the first tables the pictures its records allow; names are unique and usable as file names."""
    out = []
    for i, (grid, comparisons) in enumerate(zip(report.grids, report.comparisons, strict=True)):
        if i == MOST_TABLES:
            break
        pens = choose_methods(grid)
        prefix = "" if len(report.grids) == 1 else f"{i + 1}-"
        found = [
            *accuracy.pictures(grid, comparisons, pens),
            *seeds.pictures(grid, comparisons, pens),
            *curves.pictures(grid, pens),
            *transition.pictures(grid),
            *classes.pictures(grid, pens),
            *cost.pictures(grid, pens),
        ]
        out.append(tuple(picture.renamed(f"{prefix}{picture.name}") for picture in found))
    return tuple(out)


def across(report: Report) -> tuple[Picture, ...]:
    """Pictures over all tables together."""
    return tuple(ranks.pictures(report.grids))
