"""What every executor is: a way to get a queue of runs trained, and to be asked to stop."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Protocol

from noisybench.execute.queue import Queue
from noisybench.execute.work import Event, Session
from noisybench.spec import RunSpec

EPOCH_GRACE = 5.0
"""Seconds a run may take to finish its epoch once somebody asked to stop."""
SAVE_GRACE = 2.5
"""Seconds after that, for its checkpoint; a worker that is still busy then is ended."""


class Stop:
    """A request to stop, shared with the workers."""

    def __init__(self) -> None:
        self.at = multiprocessing.get_context("spawn").Value("d", 0.0, lock=False)
        self._save = SAVE_GRACE

    def request(self, epoch: float = EPOCH_GRACE, save: float = SAVE_GRACE) -> None:
        """Give every run so many seconds to end its epoch, and then to save."""
        if not self.at.value:
            self._save = save
            self.at.value = time.monotonic() + epoch

    @property
    def requested(self) -> bool:
        """True once somebody asked."""
        return bool(self.at.value)

    @property
    def overdue(self) -> bool:
        """True when everything should have stopped by now."""
        return self.requested and time.monotonic() > self.at.value + self._save

    def deadline(self) -> float | None:
        """When epochs are given up, or None."""
        return self.at.value or None


class Executor(Protocol):
    """Where runs are trained. What it does with one run is ``work.execute``; a run that fails costs itself, a worker
    that dies costs what its run did since its last checkpoint."""

    @property
    def parallel(self) -> int:
        """Runs at once, as far as that is known: with more than one the longest are begun first."""

    def work(self, session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop) -> str | None:
        """Until the queue is empty or ``stop`` asks; observes ``start``, ``epoch``, ``log``, ``settled``, ``blocked``.
        Returns why nothing can go on, or None."""


def take_end(queue: Queue, spec: RunSpec, event: Event, observe: Callable[[Event], None]) -> str | None:
    """Act on how a run ended; returns why nothing can go on, or None."""
    if event["type"] == "broken":
        return str(event["text"])
    if event["type"] == "busy":
        queue.put_off(spec)
    observe(event)
    if event["type"] == "settled":
        for run_id in queue.settle(spec.run_id, event["status"], event.get("error") or event["status"]):
            observe({"type": "blocked", "run_id": run_id, "text": queue.blocked[run_id]})
    return None
