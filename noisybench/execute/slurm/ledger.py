"""Bookkeeping of jobs in the store: ``.jobs/<name>.json``, one file a submitted array, written whole or not at all.

It is written twice: with the jobs' name before they are submitted, so that jobs whose submitter died in between are
found by that name, and with their numbers afterwards. What becomes of runs is read from records, not from here.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from noisybench.errors import StoreError
from noisybench.files import json_with_hash, read_json, write_atomic

FOLDER = ".jobs"


@dataclass(frozen=True)
class Submission:
    """An array (or a single job) that was submitted. ``job``: Slurm's number of it, empty while it is being submitted.
    ``runs``: the run ids of each element. ``after``: the job that must have ended before, if any."""

    name: str
    submitted: float  # seconds since 1970
    runs: tuple[tuple[str, ...], ...]
    job: str = ""
    after: str | None = None

    @property
    def jobs(self) -> list[str]:
        """The name of each element's job, ``123_4``; a single job is ``123``."""
        if not self.job:
            return []
        return [self.job] if len(self.runs) == 1 else [f"{self.job}_{i}" for i in range(len(self.runs))]


def new_name(suite: str) -> str:
    """A name for jobs that nobody else has."""
    word = "".join(c if c.isalnum() or c in "-_" else "-" for c in suite)[:40]
    return f"noisybench-{word}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def log_path(name: str, job: str) -> str:
    """Where a job's words are, relative to the store."""
    return f"{FOLDER}/{name}/{job}_0_log.err"


class Ledger:
    """The bookkeeping of one store."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER

    def write(self, submission: Submission) -> None:
        """Write a submission down, or anew."""
        self.folder.mkdir(exist_ok=True)
        write_atomic(self.folder / f"{submission.name}.json", json_with_hash({"schema": 1, **asdict(submission)}))

    def forget(self, submission: Submission) -> None:
        """Nothing was submitted under this name."""
        (self.folder / f"{submission.name}.json").unlink(missing_ok=True)

    def read(self) -> Iterator[tuple[Submission | None, str | None]]:
        """Every submission, oldest first, or what is wrong with its file."""
        for path in sorted(self.folder.glob("*.json"), key=lambda path: (path.name[-27:], path.name)):
            try:
                yield _submission(read_json(path)), None
            except StoreError:
                if path.exists():
                    raise
            except (ValueError, KeyError, TypeError) as error:
                yield None, f"{path}: {error if isinstance(error, ValueError) else 'not as noisybench writes it'}"

    def submissions(self) -> list[Submission]:
        """Those that can be read."""
        return [found for found, _ in self.read() if found is not None]

    def jobs_of(self) -> dict[str, tuple[str, Submission]]:
        """Run id -> the job it was last submitted in."""
        out = {}
        for submission in filter(lambda found: found.job, self.submissions()):
            for job, runs in zip(submission.jobs, submission.runs, strict=True):
                out.update(dict.fromkeys(runs, (job, submission)))
        return out

    # -- what a job leaves ------------------------------------------------------------------------------------------

    def write_end(self, name: str, job: str, told: Mapping[str, Any]) -> None:
        """A job's last words: ``left``, runs it did not settle and why; ``why``, if something stopped it."""
        write_atomic(self.folder / name / f"{job}.end.json", json_with_hash(told))

    def read_end(self, name: str, job: str) -> dict[str, Any] | None:
        """Those words; None where there are none that can be read."""
        path = self.folder / name / f"{job}.end.json"
        try:
            return read_json(path) if path.exists() else None
        except ValueError:
            return None

    def forget_end(self, name: str, job: str) -> None:
        """The job begins anew."""
        with contextlib.suppress(OSError):
            (self.folder / name / f"{job}.end.json").unlink(missing_ok=True)


def numbered(submission: Submission, job: str) -> Submission:
    """The same, submitted."""
    return replace(submission, job=job)


def _submission(value: Mapping[str, Any]) -> Submission:
    runs: Sequence[Sequence[str]] = value["runs"]
    return Submission(
        str(value["name"]),
        float(value["submitted"]),
        tuple(tuple(str(run_id) for run_id in element) for element in runs),
        str(value["job"]),
        None if value["after"] is None else str(value["after"]),
    )


def last_lines(path: Path, number: int = 1) -> str | None:
    """The last lines of a log that say something; None where there are none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return None
    return "\n".join(lines[-number:]) or None
