"""How a study scales with workers, by simulation: the real queue and order of runs under a clock of their own.

One driver hands out runs. Each assignment costs it ``cost`` seconds, one after another (starting the run, taking in its
end); a worker is ready ``start`` seconds after the beginning and then trains one run after another. Students wait for
their teachers. What is left out: networks and disks that many workers share, nodes that die, checkpoints sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noisybench.errors import InputError
from noisybench.execute.plan import longest_first
from noisybench.execute.queue import Queue
from noisybench.seeding import Draws
from noisybench.spec import RunSpec
from noisybench.store import Store


@dataclass(frozen=True)
class Scaled:
    """A study of so many runs on so many workers. ``efficiency``: training seconds over workers times duration.
    ``driver``: share of the duration for which the driver was busy. ``longest``: the longest chain of teacher and
    students, below which no number of workers gets."""

    workers: int
    seconds: float
    efficiency: float
    driver: float
    longest: float

    @property
    def limit(self) -> str:
        """What keeps the efficiency from 1."""
        if self.efficiency > 0.95:
            return ""
        if self.driver > 0.9:
            return "the driver"
        return "the longest chain of runs" if self.longest > 0.9 * self.seconds else "start and the last runs"


def simulate(
    runs: Sequence[RunSpec], seconds: Mapping[str, float], workers: int, cost: float, start: float = 0.0
) -> Scaled:
    """Train ``runs`` (run id -> ``seconds``) on ``workers`` workers under a clock of its own."""
    queue = Queue(longest_first(runs, seconds), set())
    driver, busy, now = 0.0, 0.0, 0.0
    idle = [start] * workers  # when each free worker can begin
    ends: list[tuple[float, str]] = []
    while queue.waiting or ends:
        spec = queue.next() if idle else None
        if spec is None:
            now, run_id = heapq.heappop(ends)
            queue.settle(run_id, "finished", "")
            heapq.heappush(idle, now)
            continue
        driver = max(driver, now) + cost
        busy += cost
        begun = max(driver, heapq.heappop(idle))
        heapq.heappush(ends, (begun + seconds[spec.run_id], spec.run_id))
    total = sum(seconds[spec.run_id] for spec in runs)
    return Scaled(workers, now, total / (workers * now), busy / now, _longest(runs, seconds))


def _longest(runs: Sequence[RunSpec], seconds: Mapping[str, float]) -> float:
    ends: dict[str, float] = {}
    for spec in runs:  # teachers come before their students in a plan
        ends[spec.run_id] = seconds[spec.run_id] + (ends.get(spec.teacher, 0.0) if spec.teacher else 0.0)
    return max(ends.values(), default=0.0)


def measured_seconds(folder: Path) -> list[float]:
    """Total seconds of every finished run in a results folder."""
    found = [
        float(record["provenance"]["seconds"]["total"])
        for _, record, _ in Store(folder).records()
        if record is not None and record["result"]["status"] == "finished"
    ]
    if not found:
        raise InputError(f"--times {folder}: no finished run lies there; give a results folder such as runs/quickstart")
    return found


def study_of(times: Sequence[float], count: int, students: float = 0.1) -> tuple[list[RunSpec], dict[str, float]]:
    """``count`` runs with durations drawn from measured ones; a share of them are students of the last other run."""
    draws = Draws(0, "bootstrap", count)
    chosen = draws.integers(count, len(times))
    follows = draws.uniforms(count) < students
    runs: list[RunSpec] = []
    seconds: dict[str, float] = {}
    teacher = ""
    for number in range(count):
        run_id = f"run-{number}"
        student = bool(follows[number]) and number > 0
        runs.append(RunSpec({"method": {"relabel": teacher} if student else {}}, run_id))
        teacher = teacher if student else run_id
        seconds[run_id] = times[int(chosen[number])]
    return runs, seconds
