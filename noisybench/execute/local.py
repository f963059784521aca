"""The local executor: worker processes that stay warm, or this process itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

from noisybench.errors import DataError
from noisybench.execute.deaths import DEATHS, Deaths
from noisybench.execute.executor import Stop, take_end
from noisybench.execute.hand import Hand, hire
from noisybench.execute.queue import Queue
from noisybench.execute.work import Event, Session, execute, settle_for
from noisybench.spec import RunSpec
from noisybench.train.checkpoint import epochs_done
from noisybench.train.kept import release, share_data


@dataclass(frozen=True)
class Local:
    """Worker processes of this machine; 0 workers: this process. ``timeout``: seconds a worker may take with a run."""

    workers: int
    timeout: float | None = None

    @property
    def parallel(self) -> int:
        """Runs at once."""
        return self.workers

    def work(self, session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop) -> str | None:
        """Train what is in the queue; returns why nothing can go on, or None."""
        if self.workers == 0:
            return run_here(session, queue, observe, stop)
        with _one_copy(session, queue.waiting) as sharing:
            return run_in_workers(sharing, queue, observe, stop, self.workers, timeout=self.timeout)


@contextlib.contextmanager
def _one_copy(session: Session, runs: Sequence[RunSpec]) -> Iterator[Session]:
    """A session whose workers share this process's data sets. Data that cannot be loaded is left to the runs."""
    shared = None
    with contextlib.suppress(DataError):
        shared = share_data([spec.data for spec in runs], session.folder)
    try:
        yield replace(session, shared=shared)
    finally:
        release(shared)


def run_here(session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop) -> str | None:
    """Train everything in this process, one run after another (``--workers 0``). Returns why nothing can go on."""
    while queue.waiting and not stop.requested:
        spec = queue.next()
        if spec is None:
            time.sleep(0.2)
            continue
        observe({"type": "start", "run_id": spec.run_id})
        event = execute(session, spec, observe, stop.deadline)
        broken = take_end(queue, spec, event, observe)
        if broken:
            return broken
        if "unfit" in event and (queue.waiting or queue.behind) and not stop.requested:
            return f"{event['unfit']} (since run {spec.run_id} was trained)"
    return None


def run_in_workers(
    session: Session,
    queue: Queue,
    observe: Callable[[Event], None],
    stop: Stop,
    workers: int,
    *,
    timeout: float | None = None,
) -> str | None:
    """Train everything in ``workers`` worker processes. Returns why nothing can go on, or None.

    A worker that dies is replaced and its run goes on from its last checkpoint, or is given up (``deaths``). One that
    takes longer than ``timeout`` seconds with a run is ended, and the run settled as failed.
    """
    crew = Crew(session, queue, observe, stop, workers, timeout)
    try:
        crew.work()
    finally:
        crew.dismiss()
    return crew.broken


@dataclass
class Crew:
    """Worker processes and what they have to do."""

    session: Session
    queue: Queue
    observe: Callable[[Event], None]
    stop: Stop
    workers: int
    timeout: float | None = None
    broken: str | None = None
    hands: list[Hand] = field(default_factory=list)
    deaths: Deaths = field(default_factory=Deaths)
    unready_deaths: int = 0  # since a worker was last ready

    def work(self) -> None:
        """Until nothing is left, nothing can go on, or somebody asked to stop and everybody has."""
        while not self.broken:
            self._assign()
            idle = not any(hand.spec for hand in self.hands)
            if self.broken or (idle and (self.stop.requested or not self.queue.waiting)):
                return
            if self.stop.overdue:
                return  # dismissed without their last epoch; their last checkpoints stay
            self._listen()
            self._end_late()

    def dismiss(self) -> None:
        """End every worker; the idle ones get a moment to leave by themselves."""
        for hand in self.hands:
            if hand.spec is None:
                with contextlib.suppress(OSError):
                    hand.connection.send(None)
        deadline = time.monotonic() + 2.0
        for hand in self.hands:
            if hand.spec is None:
                hand.process.join(timeout=max(0.0, deadline - time.monotonic()))
            hand.kill()
            hand.close()
        self.hands.clear()

    def _assign(self) -> None:
        while not self.stop.requested:
            hand = next((hand for hand in self.hands if hand.spec is None), None)
            if hand is None and len(self.hands) >= self.workers:
                return
            spec = self.queue.next()
            if spec is None:
                return
            hand = hand or self._hire()
            if hand is None or not hand.ask(spec):
                self.queue.waiting.insert(0, spec)  # a worker that died while idle is buried by _listen
                return
            self.observe({"type": "start", "run_id": spec.run_id})

    def _hire(self) -> Hand | None:
        try:
            self.hands.append(hire(self.session, self.stop.at))
        except OSError as error:
            if not self.hands:
                self.broken = f"no worker process can be started: {error.strerror or error}"
            self.workers = len(self.hands)  # go on with those there are
            return None
        return self.hands[-1]

    def _listen(self) -> None:
        ends: dict[Any, Hand] = {hand.connection: hand for hand in self.hands}
        ends |= {hand.process.sentinel: hand for hand in self.hands}
        for end in wait(list(ends), timeout=0.5):
            hand = ends[end]
            if hand not in self.hands:
                continue
            try:
                while not self.broken and hand in self.hands and hand.connection.poll():
                    self._hear(hand, hand.connection.recv())
            except (EOFError, OSError):
                self._bury(hand)
        for hand in list(self.hands):
            if not hand.process.is_alive() and not hand.connection.poll():
                self._bury(hand)

    def _hear(self, hand: Hand, event: Event) -> None:
        if event["type"] == "ready":
            hand.get_ready()
            self.unready_deaths = 0
        elif event["type"] in ("epoch", "log"):
            self.observe(event)
        else:
            spec, hand.spec = hand.spec, None
            if "unfit" in event:  # a new worker starts where this one stands
                self.hands.remove(hand)
                hand.kill()
                hand.close()
            if spec is not None:
                self._take(spec, event)

    def _take(self, spec: RunSpec, event: Event) -> None:
        self.broken = take_end(self.queue, spec, event, self.observe) or self.broken

    def _do_without(self, why: str) -> None:
        """No more workers are to be had: those that there are go on, or nobody can."""
        if not any(hand.ready for hand in self.hands):
            self.broken = why
        self.workers = max(1, len(self.hands))

    def _end_late(self) -> None:
        """End workers that hang; their runs are settled with where they hung."""
        for hand in list(self.hands):
            spec, since = hand.spec, hand.since
            late = self.timeout is not None and since is not None and time.monotonic() - since > self.timeout
            if spec is None or not late or hand.connection.poll():
                continue
            trace = hand.where()
            hand.kill()
            self.hands.remove(hand)
            hand.close()
            reason = f"took longer than {self.timeout:g} seconds (--timeout) and was ended"
            self._take(spec, settle_for(self.session, spec, reason, trace))

    def _bury(self, hand: Hand) -> None:
        """A worker died: its run goes back to the queue, or is settled as failed."""
        hand.kill()
        spec, why, words, memory = hand.spec, hand.why_it_died(), hand.last_words(), hand.ran_out_of_memory
        self.hands.remove(hand)
        hand.close()
        if not hand.ready:
            self.unready_deaths += 1
            if self.unready_deaths >= DEATHS:
                self._do_without(f"workers die before they can work: the last {why}" + (f" ({words})" if words else ""))
        if spec is None or self.stop.requested:
            return
        often = None
        if hand.ready:
            epochs = epochs_done(self.session.store.folder(spec.run_id)) or 0
            often = self.deaths.count(spec.run_id, epochs, memory=memory)
        if often is None:
            text = f"its worker {why}; it goes on from its last checkpoint"
            self.observe({"type": "log", "run_id": spec.run_id, "text": text})
            self.queue.waiting.insert(0, spec)
            return
        self._take(spec, settle_for(self.session, spec, f"its worker {why}, {often}", words))
