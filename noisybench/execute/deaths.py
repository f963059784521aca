"""When a run is given up because whoever trains it dies: alike for worker processes, Ray tasks and Slurm jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

DEATHS = 3
"""A run that dies this often is settled as failed; so many workers that die unready end the command."""


@dataclass
class Deaths:
    """Deaths of each run's workers, nodes or jobs, counted from the last one since which it got on.

    A run that has a newer checkpoint at each death will end, so that its deaths are not counted together. Those for
    lack of memory are: that is the run's own doing, and would cost the others theirs.
    """

    counted: Counter[str] = field(default_factory=Counter)
    reached: dict[str, int] = field(default_factory=dict)  # epochs in a run's checkpoint at its last death

    def count(self, run_id: str, epochs: int, *, memory: bool = False) -> str | None:
        """Count one; ``epochs`` are in its checkpoint now. Where the run is to be given up: how often, for a record."""
        if epochs > self.reached.get(run_id, 0) and not memory:
            self.counted[run_id] = 0
        self.reached[run_id] = max(epochs, self.reached.get(run_id, 0))
        self.counted[run_id] += 1
        if self.counted[run_id] < DEATHS:
            return None
        return f"{DEATHS} times" if memory else f"{DEATHS} times without a newer checkpoint in between"
