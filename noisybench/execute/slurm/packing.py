"""Which runs share a job.

A family is a run with all that is trained on its predictions, directly or not. A family of at most twice
``runs_per_job`` runs stays whole, in one element of a job array; families are put together until an element holds
``runs_per_job`` runs. A larger family is cut: its teacher is packed like any run without students, and its students,
each with its own students a family of its own, are packed into an array that depends on the teacher's element
(``afterany``). So a pair of teacher and student is never cut, and nobody waits in a job for another job. Students of a
teacher that is in a job already are submitted in the same way, to depend on that job.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from noisybench.spec import RunSpec


@dataclass(frozen=True)
class Element:
    """Runs that share a job, teachers before students."""

    runs: tuple[RunSpec, ...]


@dataclass(frozen=True)
class Array:
    """Elements to submit together. ``after``: the run whose job must have ended; None: nothing."""

    elements: tuple[Element, ...]
    after: str | None = None


def pack(runs: Sequence[RunSpec], runs_per_job: int, finished: Container[str] = ()) -> list[Array]:
    """Arrays in the order in which they can be submitted. ``runs``: in the order in which they are best begun;
    ``finished``: teachers that nobody has to wait for."""
    here = {spec.run_id for spec in runs}
    students: dict[str, list[RunSpec]] = {}
    for spec in runs:
        if spec.teacher in here:
            students.setdefault(str(spec.teacher), []).append(spec)
    # depth first without recursion: a chain of relabels may be long
    sizes: dict[str, int] = {}
    roots = [spec for spec in runs if spec.teacher not in here]
    stack = [(spec, False) for spec in roots]
    while stack:
        spec, seen = stack.pop()
        if seen:
            sizes[spec.run_id] = 1 + sum(sizes[s.run_id] for s in students.get(spec.run_id, []))
        else:
            stack.append((spec, True))
            stack += [(student, False) for student in students.get(spec.run_id, [])]
    arrays: list[Array] = []
    heads_after: dict[str | None, list[RunSpec]] = {None: []}
    for spec in roots:
        heads_after.setdefault(None if spec.teacher in finished else spec.teacher, []).append(spec)
    waiting = [(heads, after) for after, heads in heads_after.items()]
    while waiting:
        heads, after = waiting.pop(0)
        families = []
        for head in heads:
            if sizes[head.run_id] <= 2 * runs_per_job:
                families.append(_family(head, students))
            else:
                families.append([head])
                waiting.append((students[head.run_id], head.run_id))
        if families:
            arrays.append(Array(tuple(_fill(families, runs_per_job)), after))
    return arrays


def _family(head: RunSpec, students: dict[str, list[RunSpec]]) -> list[RunSpec]:
    out = [head]
    for spec in out:  # grows while it is walked: teachers before students
        out += students.get(spec.run_id, [])
    return out


def _fill(families: Iterable[list[RunSpec]], runs_per_job: int) -> list[Element]:
    """Families in their order, put together as long as no more than ``runs_per_job`` runs share an element."""
    out: list[Element] = []
    current: list[RunSpec] = []
    for family in families:
        if current and len(current) + len(family) > runs_per_job:
            out.append(Element(tuple(current)))
            current = []
        current += family
    return [*out, Element(tuple(current))] if current else out
