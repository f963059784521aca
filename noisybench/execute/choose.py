"""From settings to an executor, and what to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noisybench.data import DataFolder
from noisybench.errors import InputError
from noisybench.execute.executor import Executor
from noisybench.execute.local import Local
from noisybench.execute.resources import choose_workers
from noisybench.execute.settings import LocalSettings, Settings
from noisybench.spec import RunSpec


@dataclass(frozen=True)
class Choice:
    """An executor; ``place``: where it trains, to follow "in"; ``note``: a line to print before it starts."""

    executor: Executor
    place: str
    note: str | None = None


def choose_executor(
    settings: Settings,
    runs: Sequence[RunSpec],
    folder: DataFolder,
    *,
    device: str,
    threads: int,
    workers: str,
    timeout: float | None,
) -> Choice:
    """The executor that the settings name. MissingExtra where its package is not installed."""
    if isinstance(settings, LocalSettings):
        crew = choose_workers(workers, runs, folder, device, threads)
        place = "this process" if crew.count == 0 else f"{crew.count} worker{'s' if crew.count > 1 else ''}"
        note = crew.limit and f"{crew.limit[0].upper()}{crew.limit[1:]}; --workers N overrides that."
        return Choice(Local(crew.count, timeout), place, note)
    raise InputError("this executor is not here yet")
