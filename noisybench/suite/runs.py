"""Runs: a cell with one seed, teachers before students, each once."""

from __future__ import annotations

from noisybench.spec import RunSpec
from noisybench.suite.cells import Cell, node_at
from noisybench.suite.grammar import DEFAULTS
from noisybench.suite.reading import Node
from noisybench.suite.variants import MAX_CHAIN, Variants


def link(cells: list[Cell], variants: Variants) -> list[Cell]:
    """Give every student its teacher of the same data set, noise and model."""
    by_place = {(*cell.place, cell.variant.name): cell for cell in cells}
    for cell in cells:
        name = variants.teacher(cell.variant, cell.data["method"]["relabel"], node_at(cell.tree, "method.relabel"))
        if name is not None:
            cell.teacher = by_place[(*cell.place, name)]
    return cells


class Runs:
    """Makes run specs, teachers first, each once."""

    def __init__(self) -> None:
        self.specs: dict[str, RunSpec] = {}
        self._done: dict[tuple[int, int], str] = {}
        self._open: list[Cell] = []

    def add(self, cell: Cell, seed: int) -> str:
        """The id of a cell's run with this seed."""
        key = (id(cell), seed)
        if key in self._done:
            return self._done[key]
        if cell in self._open:
            ring = [*self._open[self._open.index(cell) :], cell]
            raise _relabel(cell).error(f"relabels form a circle: {' -> '.join(c.variant.name for c in ring)}")
        if len(self._open) > MAX_CHAIN:
            raise _relabel(cell).error(f"a chain of more than {MAX_CHAIN} relabels")
        teacher = None
        if cell.teacher is not None:
            if seed not in cell.teacher.seeds:
                by = cell.teacher.skipped_by
                where = f" ({by.place})" if by is not None else ""
                raise _relabel(cell).error(
                    f"needs the runs of {cell.teacher.variant.name} with {cell.noise.label}, which an override "
                    f"skips{where}"
                )
            self._open.append(cell)
            teacher = self.add(cell.teacher, seed)
            self._open.pop()
        data = {**cell.data, "method": {**cell.data["method"], "relabel": teacher}, "seed": seed}
        if cell.files:
            data["files"] = dict(cell.files)
        spec = RunSpec.of(data, defaults=DEFAULTS)
        self.specs.setdefault(spec.run_id, spec)
        self._done[key] = spec.run_id
        return spec.run_id


def _relabel(cell: Cell) -> Node:
    return node_at(cell.tree, "method.relabel")


def mark_students(cells: list[Cell]) -> None:
    """What a teacher knew, its students know; how many networks answered for it is its own affair."""
    for cell in cells:
        teacher = cell.teacher
        while teacher is not None:
            cell.marks += [mark for mark in teacher.marks if mark not in cell.marks and mark != "ensemble"]
            teacher = teacher.teacher
        cell.marks.sort(reverse=True)
