"""What Slurm says of jobs: ``squeue`` of those it has, ``sacct`` or ``scontrol`` of those that ended."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

SECONDS = 60.0
"""How long a question may take."""
STATES = {
    "TIMEOUT": "reached its time limit",
    "OUT_OF_MEMORY": "was killed for memory",
    "NODE_FAIL": "lost its node",
    "CANCELLED": "was cancelled",
    "PREEMPTED": "was preempted",
    "BOOT_FAIL": "lost its node, which did not boot",
    "DEADLINE": "reached its deadline",
    "REVOKED": "was revoked",
}
"""A state -> what happened, to follow "its job"."""


@dataclass(frozen=True)
class Queued:
    """A job Slurm still has."""

    state: str  # PENDING, RUNNING, COMPLETING, ...
    reason: str = ""
    node: str = ""


class NoAnswer(Exception):
    """Slurm does not answer; the message is what it says instead."""


def ask(*command: str) -> str:
    """What a command prints; NoAnswer where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise NoAnswer(f"{command[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} takes longer than {SECONDS:g} seconds") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"{command[0]} ends with code {done.returncode}"]
        raise NoAnswer(last[0])
    return done.stdout


def queue() -> dict[str, Queued]:
    """This user's jobs by name (``123_4``), elements of arrays one by one."""
    out = {}
    for line in ask("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i|%T|%r|%N").splitlines():
        parts = line.strip().split("|")
        if len(parts) == 4:
            out[parts[0]] = Queued(*parts[1:])
    return out


def job_named(name: str) -> str | None:
    """The number of the array or job with this name, if Slurm has it still."""
    text = ask("squeue", "--noheader", f"--user={os.getuid()}", f"--name={name}", "--format=%F")
    found = text.split()
    return found[0] if found else None


def why_ended(job: str) -> str | None:
    """How a job ended, to follow "its job"; None where nobody knows any more."""
    with contextlib.suppress(NoAnswer):
        wanted = ("--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode")
        for line in ask("sacct", "--jobs", job, *wanted).splitlines():
            parts = line.split("|")
            if len(parts) == 3 and parts[0] == job:
                return in_words(parts[1], parts[2])
    with contextlib.suppress(NoAnswer):
        fields = dict(re.findall(r"(\w+)=(\S*)", ask("scontrol", "show", "job", "--oneliner", job).partition("\n")[0]))
        return in_words(fields["JobState"], fields.get("ExitCode", "")) if "JobState" in fields else None
    return None


def in_words(state: str, code: str) -> str:
    """``CANCELLED by 0`` -> ``was cancelled (CANCELLED)``; ``code``: exit code and signal, ``1:0``."""
    word = state.split(maxsplit=1)[0].rstrip("+") if state else "UNKNOWN"
    if word in STATES:
        return f"{STATES[word]} ({word})"
    number, _, signal = code.partition(":")
    if signal not in ("", "0"):
        return f"was killed by signal {signal} ({word})"
    return f"ended with code {number or 'unknown'} ({word})"


def largest_array() -> int:
    """How many elements an array may have."""
    with contextlib.suppress(NoAnswer):
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"))
        return max(1, int(found[1])) if found else 1000
    return 1000


def scancel(jobs: Iterable[str]) -> None:
    """End jobs; they get SIGTERM and the cluster's time to save."""
    jobs = list(jobs)
    with contextlib.suppress(NoAnswer):
        for first in range(0, len(jobs), 500):
            ask("scancel", *jobs[first : first + 500])
