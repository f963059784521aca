"""The order in which runs are begun. It decides when a study ends, and no result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noisybench.data import DataFolder
from noisybench.errors import NoisybenchError
from noisybench.execute.estimate import sizes_of, work_of
from noisybench.spec import RunSpec


def longest_first(runs: Sequence[RunSpec], costs: Mapping[str, float]) -> list[RunSpec]:
    """Students before the others, each of the two groups by what hangs on a run, the most first; ties stay as they are.

    On a run hang its own cost and that of all runs that wait for it, directly or not: a teacher of many students goes
    early. Students come first because a queue passes over those that still wait, so each starts as soon as a worker is
    free after its teacher. ``costs``: run id -> expected cost in any unit.
    """
    students: dict[str, list[RunSpec]] = {}
    for spec in runs:
        if spec.teacher is not None:
            students.setdefault(spec.teacher, []).append(spec)
    hanging: dict[str, float] = {}

    def weigh(spec: RunSpec) -> float:
        if spec.run_id not in hanging:
            hanging[spec.run_id] = costs[spec.run_id] + sum(weigh(student) for student in students.get(spec.run_id, []))
        return hanging[spec.run_id]

    return sorted(runs, key=lambda spec: (spec.teacher is None, -weigh(spec)))


def in_order(runs: Sequence[RunSpec], folder: DataFolder, workers: int) -> list[RunSpec]:
    """``longest_first`` by estimated operations. The order of the suite where one worker does everything, or where the
    data cannot be loaded (the runs will say why)."""
    if workers < 2:
        return list(runs)
    try:
        sizes = sizes_of(runs, folder)
    except (NoisybenchError, OSError):
        return list(runs)
    pairs = zip(runs, sizes, strict=True)
    return longest_first(runs, {spec.run_id: work_of(spec.data, size).operations for spec, size in pairs})
