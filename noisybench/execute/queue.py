"""The runs still to do, and what may be done next."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from noisybench.spec import RunSpec

BUSY_SECONDS = 2.0
"""How long to leave a run alone that another process holds."""


@dataclass
class Queue:
    """Runs still to do. A student waits for its teacher; one whose teacher did not finish is blocked."""

    waiting: list[RunSpec]
    finished: set[str]
    lost: dict[str, str] = field(default_factory=dict)  # run id -> why it cannot finish
    blocked: dict[str, str] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)  # run id -> when to try again
    behind: dict[str, list[RunSpec]] = field(default_factory=dict)  # teacher -> students that were come upon too early

    def next(self) -> RunSpec | None:
        """The next run whose teacher (if it has one) is finished and that nobody else held a moment ago.

        A student that is come upon before its teacher has finished is laid behind it, so that a queue of many students
        is not looked through again for every run.
        """
        now, place = time.monotonic(), 0
        while place < len(self.waiting):
            spec = self.waiting[place]
            if spec.teacher is not None and spec.teacher not in self.finished:
                self.behind.setdefault(spec.teacher, []).append(spec)
                del self.waiting[place]
            elif self.held.get(spec.run_id, 0.0) <= now:
                del self.waiting[place]
                return spec
            else:
                place += 1
        return None

    def put_off(self, spec: RunSpec) -> None:
        """Take back a run that another process holds; it is offered again after a while."""
        self.held[spec.run_id] = time.monotonic() + BUSY_SECONDS
        self.waiting.append(spec)

    def settle(self, run_id: str, status: str, reason: str) -> list[str]:
        """Note how a run ended; returns the runs that are blocked by it."""
        if status == "finished":
            self.finished.add(run_id)
            self.waiting[:0] = self.behind.pop(run_id, [])
            return []
        self.lost[run_id] = reason
        newly, teachers = [], [run_id]
        while teachers:
            for spec in self.take_students(teachers.pop()):
                self.blocked[spec.run_id] = f"its teacher {run_id} {status}"
                newly.append(spec.run_id)
                teachers.append(spec.run_id)
        return newly

    def take_students(self, teacher: str) -> list[RunSpec]:
        """Take out the runs that wait for this one."""
        students = [*self.behind.pop(teacher, []), *(spec for spec in self.waiting if spec.teacher == teacher)]
        if len(students):
            self.waiting[:] = [spec for spec in self.waiting if spec.teacher != teacher]
        return students
