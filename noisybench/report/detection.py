"""How well wrong training labels were found, for studies that asked (``training.detection``)."""

from __future__ import annotations

from noisybench.report.grid import Grid
from noisybench.report.results import Cell
from noisybench.report.statistics import summarise

TITLE = "Finding the wrong labels"
MEANING = (
    "Area under the receiver operating characteristic (0.5: finds nothing) / share of right labels, in %, among the "
    "1 - rate least suspicious ones, rate being the true share of wrong labels / the rate, in %, that the detector "
    "estimates itself. Means over finished runs. small loss, gmm and bmm (Gaussian and beta mixture) look at the final "
    "losses; permuted, the control, at the same losses dealt out at random."
)
PARTS = (("auc", 3), ("kept_right", 1), ("rate", 1))


def table_rows(grid: Grid) -> tuple[list[str], list[list[str]]]:
    """Head and rows, one a method and detector; no rows where no run has been asked."""
    rows = []
    for row in grid.rows:
        entries = [grid.entries.get((row, column.label)) for column in grid.columns]
        names: dict[str, None] = {}
        for entry in entries:
            for run in entry.cell.finished if entry else ():
                names |= dict.fromkeys((run.result or {}).get("detection") or {})
        for name in names:
            cells = ["–" if entry is None else _cell(entry.cell, name) for entry in entries]
            rows.append([row, name.replace("_", " "), *cells])
    return ["method", "detector", *(column.short for column in grid.columns)], rows


def _cell(cell: Cell, name: str) -> str:
    found = [summarise(list(cell.values(f"detection.{name}.{part}").values())) for part, _ in PARTS]
    if found[0] is None:
        return "–"
    return " / ".join(
        f"{item.mean:.{digits}f}" if item else "–" for item, (_, digits) in zip(found, PARTS, strict=True)
    )
