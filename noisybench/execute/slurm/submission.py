"""Elements become job arrays: submitit's executor, one call of sbatch an array, and the bookkeeping around it."""

from __future__ import annotations

import contextlib
import subprocess
import time
import warnings
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisybench.execute.slurm import questions
from noisybench.execute.slurm.job import PackedRuns
from noisybench.execute.slurm.ledger import Ledger, Submission, new_name, numbered
from noisybench.execute.slurm.packing import Array, Element
from noisybench.execute.slurm.parameters import JobParameters
from noisybench.execute.work import Session

REQUEUES = 10**6
"""How often submitit may requeue a job at its time limit. It never gives up a job that gets on: one that does not is
not requeued in the first place."""


class Refused(Exception):
    """Slurm did not take a job; the message is what it says itself."""


@dataclass
class Submitter:
    """Submits elements. ``workers`` and ``timeout`` are for the local executor inside a job."""

    session: Session
    parameters: JobParameters
    workers: str = "auto"
    timeout: float | None = None
    _largest: int = field(default=0, init=False)

    def submit(self, arrays: Sequence[Array], known: Container[str]) -> Iterator[Submission]:
        """Submit arrays in their order; each is written down before and after. ``known``: jobs that Slurm has, others
        are not waited for. Refused: what came before stays."""
        ledger = Ledger(self.session.root)
        jobs = {run_id: job for run_id, (job, _) in ledger.jobs_of().items() if job in known}
        self._largest = self._largest or questions.largest_array()
        for array in arrays:
            for first in range(0, len(array.elements), self._largest):
                elements = array.elements[first : first + self._largest]
                runs = tuple(tuple(spec.run_id for spec in element.runs) for element in elements)
                after = jobs.get(array.after) if array.after else None
                planned = Submission(new_name(self.session.root.name), time.time(), runs, after=after)
                ledger.write(planned)
                try:
                    number = self._sbatch(planned, elements)
                except Refused:
                    ledger.forget(planned)
                    raise
                done = numbered(planned, number)
                ledger.write(done)
                for job, run_ids in zip(done.jobs, runs, strict=True):
                    jobs.update(dict.fromkeys(run_ids, job))
                yield done

    def _sbatch(self, planned: Submission, elements: Sequence[Element]) -> str:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        functions = [self._function(planned.name, element) for element in elements]
        parameters = {**self.parameters.submitit, "job_name": planned.name}
        if planned.after:
            parameters["dependency"] = f"afterany:{planned.after}"
        folder = Ledger(self.session.root).folder / planned.name
        try:
            executor = SlurmExecutor(folder, max_num_timeout=REQUEUES)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                executor.update_parameters(**parameters)
                jobs: list[Any] = executor.submit_array(functions)
        except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, RuntimeError) as error:
            _remove(folder)
            raise Refused(_in_one_line(error)) from error
        return str(jobs[0].job_id).partition("_")[0]

    def _function(self, name: str, element: Element) -> PackedRuns:
        runs = tuple((spec.run_id, spec.data) for spec in element.runs)
        limits = self.parameters
        return PackedRuns(self.session, name, runs, limits.minutes, limits.grace, self.workers, self.timeout)


def _in_one_line(error: BaseException) -> str:
    """What sbatch says itself, without its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [line.partition("error: ")[2] for line in lines if line.startswith("sbatch: error: ")]
    said = dict.fromkeys(line.removeprefix("Batch job submission failed: ") for line in own if line)
    return "; ".join(said) or (lines[0] if lines else type(error).__name__)


def _remove(folder: Path) -> None:
    """What submitit left of jobs that Slurm did not take: functions and scripts, no folder."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
