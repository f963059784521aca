"""``noisybench status``: where studies stand; once, or again and again."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from noisybench.cli.live import duration
from noisybench.execute import status as reading
from noisybench.execute.status import Reader, RunStatus, Status, find_folders

MOST = 20
"""Runs of a kind that are named; the others are counted."""

console = Console(soft_wrap=True, highlight=False)


def print_status(places: Sequence[Path], *, every: float | None) -> int:
    """Print it; with ``every`` (seconds) follow it until everything is done or Ctrl-C. Returns the exit code."""
    readers = [Reader(folder) for folder in find_folders(list(places))]
    if every is None:
        found = _read(readers)
        _print(found)
    elif console.is_terminal:
        found = _live(readers, every)
    else:
        found = _lines(readers, every)
    return max(status.exit_code for status in found)


def _read(readers: Sequence[Reader]) -> list[Status]:
    jobs = _jobs() if any(reader.has_jobs() for reader in readers) else None
    return [reader.read(jobs) for reader in readers]


def _jobs() -> dict[str, str] | None:
    """The state of this user's jobs, where there is a Slurm that answers."""
    from noisybench.execute.slurm import questions

    if shutil.which("squeue") is None:
        return None
    try:
        return {job: found.state for job, found in questions.queue().items()}
    except questions.NoAnswer:
        return None


def _live(readers: Sequence[Reader], every: float) -> list[Status]:
    found = _read(readers)
    try:
        with Live(_picture(found), console=console, auto_refresh=False) as live:
            while not all(status.complete for status in found):
                time.sleep(every)
                found = _read(readers)
                live.update(_picture(found), refresh=True)
    except KeyboardInterrupt:
        console.print("No longer watching.")
    return found


def _lines(readers: Sequence[Reader], every: float) -> list[Status]:
    found = _read(readers)
    shown = [summary(status) for status in found]
    _print(found)
    try:
        while not all(status.complete for status in found):
            time.sleep(every)
            found = _read(readers)
            for number, status in enumerate(found):
                if summary(status) != shown[number]:
                    shown[number] = summary(status)
                    console.print(shown[number], markup=False)
    except KeyboardInterrupt:
        console.print("No longer watching.")
    return found


def _print(found: Sequence[Status]) -> None:
    for status in found:
        for line in lines(status):
            console.print(line, markup=False)


def _picture(found: Sequence[Status]) -> RenderableType:
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for status in found for line in lines(status)))


def summary(status: Status) -> str:
    """How many runs are in which state, and how long it will take."""
    counts = status.counts
    parts = [f"{number} {state}" for state, number in counts.items() if number]
    text = f"{status.suite} ({status.folder}): {len(status.runs)} runs: {', '.join(parts) or 'none'}"
    again = " With --retry-failed, run trains failed runs again." if counts[reading.FAILED] else ""
    if status.complete:
        return f"{text}.{again}"
    running = counts[reading.RUNNING]
    if status.left is not None:
        at_once = f"{running} at once" if running else "one at a time"
        text += f"; about {duration(status.left)} left, {at_once}"
    if not running and not counts[reading.QUEUED]:
        text += "; nothing is running: go on with the same run command"
    return f"{text}.{again}"


def lines(status: Status) -> list[str]:
    """The summary, then the runs one wants to know about; of those that merely wait, only where something is wrong."""
    out = [summary(status)]
    for state in (reading.RUNNING, reading.STOPPED, reading.FAILED, reading.DAMAGED, reading.BLOCKED):
        out += _section(status.of(state))
    queued = status.of(reading.QUEUED)
    if queued:
        jobs = {run.where for run in queued}
        out.append(f"  queued   {len(queued)} runs in {len(jobs)} jobs: {_queued(queued)}")
    odd = [run for run in status.of(reading.WAITING) if run.why]
    out += _section(odd)
    return out + [f"  {note}" for note in status.notes]


def _queued(runs: Sequence[RunStatus]) -> str:
    states: dict[str, list[str]] = {}
    for run in runs:
        job = str(run.where).rpartition(" ")[2]
        if job not in states.setdefault(str(run.why), []):
            states[str(run.why)].append(job)
    parts = []
    for state, jobs in states.items():
        more = f" and {len(jobs) - 4} more" if len(jobs) > 4 else ""
        parts.append(f"{', '.join(jobs[:4])}{more} {state}")
    return "; ".join(parts)


def _section(runs: Sequence[RunStatus]) -> list[str]:
    shown = [_line(run) for run in runs[:MOST]]
    return [*shown, f"  ... and {len(runs) - MOST} more {runs[0].state}"] if len(runs) > MOST else shown


def _line(run: RunStatus) -> str:
    parts = [f"  {run.state:8} {run.name}"]
    if run.state == reading.RUNNING:
        parts.append(f"epoch {run.epoch or 0} of {run.epochs}" if run.epochs else "starting")
        parts.append(f"on {run.where}, since {_since(run.since)}")
    elif run.state == reading.STOPPED:
        known = f"after epoch {run.epoch} of {run.epochs}" if run.epoch is not None else "of an unknown epoch"
        parts.append(f"goes on from its checkpoint {known}")
    if run.why:
        parts.append(run.why)
    if run.log is not None:
        parts.append(f"see {run.log}")
    return ": ".join([parts[0], "; ".join(parts[1:])]) if parts[1:] else parts[0]


def _since(stamp: str | None) -> str:
    try:
        began = datetime.datetime.fromisoformat(str(stamp))
        seconds = (datetime.datetime.now(datetime.timezone.utc) - began).total_seconds()
    except (ValueError, TypeError):
        return "an unknown time"
    return f"{began.astimezone():%H:%M} ({duration(max(0.0, seconds))})"
