"""The local executor: worker processes that stay warm, or this process itself."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from noisybench.execute import worker
from noisybench.execute.work import Event, Session, execute
from noisybench.spec import RunSpec

EPOCH_GRACE = 5.0
"""Seconds a run may take to finish its epoch once somebody asked to stop."""
DEATHS = 3
"""A run whose worker died this often is settled as failed."""
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

    def next(self) -> RunSpec | None:
        """The next run whose teacher (if it has one) is finished and that nobody else held a moment ago."""
        now = time.monotonic()
        for spec in self.waiting:
            if (spec.teacher is None or spec.teacher in self.finished) and self.held.get(spec.run_id, 0.0) <= now:
                self.waiting.remove(spec)
                return spec
        return None

    def settle(self, run_id: str, status: str, reason: str) -> list[str]:
        """Note how a run ended; returns the runs that are blocked by it."""
        if status == "finished":
            self.finished.add(run_id)
            return []
        self.lost[run_id] = reason
        newly, teachers = [], [run_id]
        while teachers:
            teacher = teachers.pop()
            for spec in [spec for spec in self.waiting if spec.teacher == teacher]:
                self.waiting.remove(spec)
                self.blocked[spec.run_id] = f"its teacher {run_id} {status}"
                newly.append(spec.run_id)
                teachers.append(spec.run_id)
        return newly


@dataclass
class _Hand:
    process: Any
    connection: Connection
    spec: RunSpec | None = None


class Stop:
    """A request to stop, shared with the workers."""

    def __init__(self) -> None:
        self.at = multiprocessing.get_context("spawn").Value("d", 0.0, lock=False)

    def request(self) -> None:
        """Give every run EPOCH_GRACE seconds to end its epoch and save."""
        if not self.at.value:
            self.at.value = time.monotonic() + EPOCH_GRACE

    @property
    def requested(self) -> bool:
        """True once somebody asked."""
        return bool(self.at.value)

    def deadline(self) -> float | None:
        """When epochs are given up, or None."""
        return self.at.value or None


def run_here(session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop) -> str | None:
    """Train everything in this process, one run after another (``--workers 0``). Returns why nothing can go on."""
    while queue.waiting and not stop.requested:
        spec = queue.next()
        if spec is None:
            time.sleep(0.2)
            continue
        observe({"type": "start", "run_id": spec.run_id})
        broken = _take(queue, spec, execute(session, spec, observe, stop.deadline), observe)
        if broken:
            return broken
    return None


def run_in_workers(
    session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop, workers: int
) -> str | None:
    """Train everything in ``workers`` spawned processes. Returns why nothing can go on, or None.

    A worker that dies is replaced and its run goes on from its last checkpoint, at most DEATHS times.
    """
    context = multiprocessing.get_context("spawn")
    deaths: Counter[str] = Counter()
    hands: list[_Hand] = []

    def hire() -> _Hand:
        ours, theirs = context.Pipe()
        arguments = (theirs, session, stop.at, os.getpid())
        process = context.Process(target=worker.main, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return _Hand(process, ours)

    broken: str | None = None
    try:
        while not broken:
            _assign(hands, queue, hire, workers, observe, stop)
            if not any(hand.spec for hand in hands) and (stop.requested or not queue.waiting):
                break
            broken = _listen(hands, queue, observe, deaths, session, stop)
    finally:
        _dismiss(hands)
    return broken


def _assign(
    hands: list[_Hand],
    queue: Queue,
    hire: Callable[[], _Hand],
    workers: int,
    observe: Callable[[Event], None],
    stop: Stop,
) -> None:
    while not stop.requested:
        idle = next((hand for hand in hands if hand.spec is None), None)
        if idle is None and len(hands) >= workers:
            return
        spec = queue.next()
        if spec is None:
            return
        if idle is None:
            idle = hire()
            hands.append(idle)
        idle.spec = spec
        observe({"type": "start", "run_id": spec.run_id})
        try:
            idle.connection.send((spec.run_id, spec.data))
        except (BrokenPipeError, ConnectionResetError):
            return  # it died while idle; _listen sees its end and gives the run to another


def _listen(
    hands: list[_Hand],
    queue: Queue,
    observe: Callable[[Event], None],
    deaths: Counter[str],
    session: Session,
    stop: Stop,
) -> str | None:
    ends: dict[Any, _Hand] = {hand.connection: hand for hand in hands} | {h.process.sentinel: h for h in hands}
    for end in wait(list(ends), timeout=0.5):
        hand = ends[end]
        if hand not in hands:
            continue
        try:
            while hand.connection.poll():
                event = hand.connection.recv()
                if event["type"] in ("epoch", "log"):
                    observe(event)
                    continue
                spec, hand.spec = hand.spec, None
                if spec is not None and (broken := _take(queue, spec, event, observe)):
                    return broken
        except (EOFError, ConnectionResetError):
            _bury(hands, hand, queue, observe, deaths, session, stop)
    for hand in list(hands):
        if not hand.process.is_alive() and not hand.connection.poll():
            _bury(hands, hand, queue, observe, deaths, session, stop)
    return None


def _take(queue: Queue, spec: RunSpec, event: Event, observe: Callable[[Event], None]) -> str | None:
    """Act on how a run ended; returns why nothing can go on, or None."""
    if event["type"] == "broken":
        return str(event["text"])
    if event["type"] == "busy":
        queue.held[spec.run_id] = time.monotonic() + BUSY_SECONDS
        queue.waiting.append(spec)
    observe(event)
    if event["type"] == "settled":
        for run_id in queue.settle(spec.run_id, event["status"], event.get("error") or event["status"]):
            observe({"type": "blocked", "run_id": run_id, "text": queue.blocked[run_id]})
    return None


def _bury(
    hands: list[_Hand],
    hand: _Hand,
    queue: Queue,
    observe: Callable[[Event], None],
    deaths: Counter[str],
    session: Session,
    stop: Stop,
) -> None:
    """A worker died: its run goes back to the queue, or is settled as failed after DEATHS deaths."""
    from noisybench.train.record import write_failure

    hand.process.join(timeout=5)
    hands.remove(hand)
    spec = hand.spec
    if spec is None or stop.requested:
        return
    deaths[spec.run_id] += 1
    code = hand.process.exitcode
    how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    if deaths[spec.run_id] < DEATHS:
        observe(
            {"type": "log", "run_id": spec.run_id, "text": f"its worker was {how}; it goes on from its last checkpoint"}
        )
        queue.waiting.insert(0, spec)
        return
    with session.store.lock(spec.run_id):
        record = write_failure(session.store, spec, f"its worker was {how}, {DEATHS} times", device=session.device)
    event = {"type": "settled", "status": "failed", "run_id": spec.run_id, "error": record["provenance"]["error"]}
    _take(queue, spec, event | {"test_accuracy": None, "seconds": None}, observe)


def _dismiss(hands: Iterable[_Hand]) -> None:
    for hand in hands:
        try:
            hand.connection.send(None)
        except (BrokenPipeError, ConnectionResetError, OSError):
            continue
    for hand in hands:
        hand.process.join(timeout=2)
        if hand.process.is_alive():
            hand.process.terminate()
            hand.process.join(timeout=2)


def count_workers(wanted: str | int, runs: int, device: str, threads: int) -> int:
    """``auto``: one single-thread process per core (one process per GPU), never more than there are runs."""
    if wanted != "auto":
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    most = 1 if device.startswith("cuda") else max(1, cores // max(1, threads))
    return max(1, min(most, runs))
