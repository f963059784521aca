"""The Slurm executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from noisybench.execute.executor import Stop
from noisybench.execute.queue import Queue
from noisybench.execute.settings import SlurmSettings
from noisybench.execute.slurm.driver import Driver
from noisybench.execute.slurm.parameters import check_parameters
from noisybench.execute.slurm.submission import Submitter
from noisybench.execute.work import Event, Session


@dataclass
class Slurm:
    """Job arrays. ``workers`` and ``timeout``: of the local executor in each job. ``jobs``: the numbers of all arrays
    with runs of this command, those found under way too."""

    settings: SlurmSettings
    workers: str = "auto"
    timeout: float | None = None
    jobs: list[str] = field(default_factory=list)

    @property
    def parallel(self) -> int:
        """Jobs at once; submitit's own default where nothing is said."""
        return int(self.settings.parameters.get("array_parallelism", 256))

    def work(self, session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop) -> str | None:
        """Submit what is in the queue and follow it (not where detached); returns why nothing can go on, or None."""
        submitter = Submitter(session, check_parameters(self.settings), self.workers, self.timeout)
        driver = Driver(self.settings, session, queue, observe, stop, submitter)
        try:
            driver.begin()
            if not self.settings.detach:
                driver.follow()
        finally:
            self.jobs = list(dict.fromkeys([*self.jobs, *driver.numbers]))
        return driver.broken

    def farewell(self) -> str:
        """What becomes of the jobs without this command."""
        if not self.jobs:
            return "No job is under way"
        return f"The jobs go on without this command; to cancel them: scancel {' '.join(self.jobs)}"
