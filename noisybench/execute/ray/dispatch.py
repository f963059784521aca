"""What is submitted to the cluster, and what becomes of it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from noisybench.errors import DataError, StoreError
from noisybench.execute.deaths import DEATHS, Deaths
from noisybench.execute.executor import Stop, take_end
from noisybench.execute.queue import BUSY_SECONDS, Queue
from noisybench.execute.ray.engine import End, Engine, Lost, NotYet
from noisybench.execute.ray.flight import Flight
from noisybench.execute.ray.mailbox import Letter
from noisybench.execute.work import Event, Session, settle_for
from noisybench.locks import LeaseLost
from noisybench.spec import RunSpec
from noisybench.train.checkpoint import epochs_done

POLL_SECONDS = 0.5
FETCH_SECONDS = 120.0
"""How long results may take to arrive before the command looks after the other runs again."""
COUNT_SECONDS = 2.0
"""Seconds between two looks at how large the cluster is."""
AHEAD, SPARE = 2, 16
"""Tasks submitted at once: AHEAD times what the cluster can run, and SPARE, so that it has a reason to grow."""
LATE_SECONDS = 20.0
"""How long a run that is over its time may take to say so itself."""


@dataclass(frozen=True)
class Debt:
    """A run to be settled whose worker cannot do it: not before ``after``, when its lock should be free."""

    after: float
    spec: RunSpec
    session: Session
    reason: str
    trace: str | None


@dataclass
class Dispatch:
    """One command's runs on a cluster. ``submit``: run and token of the attempt -> reference to its answer; ``slots``:
    how many runs the cluster takes at once, now."""

    session: Session
    queue: Queue
    observe: Callable[[Event], None]
    stop: Stop
    engine: Engine
    mailbox: Any
    submit: Callable[[RunSpec, str], Any]
    slots: Callable[[], int]
    timeout: float | None = None
    broken: str | None = None
    flights: dict[Any, Flight] = field(default_factory=dict)  # by reference
    tokens: dict[str, Flight] = field(default_factory=dict)
    deaths: Deaths = field(default_factory=Deaths)
    stumbles: Counter[str] = field(default_factory=Counter)
    unready_deaths: int = 0  # since a task last began
    debts: list[Debt] = field(default_factory=list)
    _attempts: int = 0
    _inbox: Any = None
    _window: int = 0
    _counted: float = -math.inf

    def work(self) -> None:
        """Until nothing is left, nothing can go on, or somebody asked to stop and everybody has."""
        while not self.broken:
            self._submit()
            self._pay()
            left = self.flights or self.debts or (self.queue.waiting and not self.stop.requested)
            if self.broken or not left or self.stop.overdue:
                return  # overdue: what is still trained is ended, last checkpoints stay
            self._listen()
            self._end_late()

    def dismiss(self) -> None:
        """End every task; whatever it does reaches nobody any more."""
        for flight in list(self.flights.values()):
            self.engine.end(flight.reference)
            self._forget(flight)
            flight.close()
        if self._inbox is not None:
            self.engine.wait([self._inbox], 2 * POLL_SECONDS)  # or Ray says aloud that its actor was ended

    # -- submitting -------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._window, self._counted = AHEAD * self.slots() + SPARE, time.monotonic()
        while len(self.flights) < self._window and not self.stop.requested:
            spec = self.queue.next()
            if spec is None:
                return
            self._attempts += 1
            token = f"{spec.run_id}/{self._attempts}"
            try:
                reference = self.submit(spec, token)
            except (DataError, StoreError) as error:
                self.broken = str(error)
                return
            self.flights[reference] = self.tokens[token] = Flight(spec, token, reference, self.session)

    def _give_back(self, flight: Flight) -> None:
        flight.close()
        self.queue.waiting.insert(0, flight.spec)

    def _forget(self, flight: Flight) -> None:
        self.flights.pop(flight.reference, None)
        self.tokens.pop(flight.token, None)

    # -- listening --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self.stop.requested:
            for flight in [flight for flight in self.flights.values() if flight.began is None]:
                self.engine.end(flight.reference)
                self._forget(flight)
                flight.close()
        if self._inbox is None:
            deadline = self.stop.deadline()
            left = None if deadline is None else deadline - time.monotonic()
            self._inbox = self.mailbox.take.remote(POLL_SECONDS, left)
        self.engine.wait([self._inbox, *self.flights], POLL_SECONDS)
        self._open_letters()
        for reference in self.engine.ended(list(self.flights)):
            if self.broken or self.stop.overdue:
                return
            if reference in self.flights:
                self._end(self.flights[reference])

    def _open_letters(self) -> None:
        if not self.engine.ended([self._inbox]):
            return
        inbox, self._inbox = self._inbox, None
        try:
            letters: dict[str, Letter] = self.engine.get(inbox, FETCH_SECONDS)
        except (Lost, NotYet) as error:
            self.broken = f"the command's own actor on the cluster cannot be reached: {error}"
            return
        for token, letter in letters.items():
            if token in self.tokens:
                self._hear(self.tokens[token], letter)

    def _hear(self, flight: Flight, letter: Letter) -> None:
        try:
            for event in letter.events:
                flight.hear(event, self.observe)
            if letter.checkpoint:
                flight.keep(self.engine, letter.checkpoint, self.observe, self._patience())
        except LeaseLost as error:
            self._lose(flight, error)
        except StoreError as error:
            self.broken = str(error)
        if flight.began is not None:
            self.unready_deaths = 0
        if letter.asks:
            grant = flight.grant(self.engine, self.observe, stopping=self.stop.requested)
            self.mailbox.answer.remote(flight.token, grant)

    def _patience(self) -> float:
        """Seconds to wait for what is on its way: no longer than somebody who asked to stop would."""
        deadline = self.stop.deadline()
        return FETCH_SECONDS if deadline is None else max(0.1, deadline + 2.0 - time.monotonic())

    # -- ends -------------------------------------------------------------------------------------------------------

    def _end(self, flight: Flight) -> None:
        try:
            answer = self.engine.get(flight.reference, self._patience())
            for event in answer.rest:
                flight.hear(event, self.observe)
            event = flight.settle(answer)
        except NotYet:
            return  # looked at again in the next round
        except Lost as lost:
            self._forget(flight)
            self._bury(flight, lost.end)
            return
        except LeaseLost as error:
            self._lose(flight, error)
            return
        except StoreError as error:
            event = {"type": "broken", "run_id": flight.spec.run_id, "text": str(error)}
        self._forget(flight)
        if event["type"] == "refused":
            self.broken = event["text"]
            flight.close()
        elif event["type"] == "unable":
            self._stumble(flight, event["text"])
        elif event["type"] == "interrupted" and not self.stop.requested:
            self._give_back(flight)
        else:
            flight.close()
            self._take(flight.spec, event)

    def _take(self, spec: RunSpec, event: Event) -> None:
        self.broken = take_end(self.queue, spec, event, self.observe) or self.broken

    def _lose(self, flight: Flight, error: LeaseLost) -> None:
        """Another process has taken the run over, as its lease had not been renewed."""
        self._forget(flight)
        self.engine.end(flight.reference)
        flight.close()
        text = f"stopped here, nothing more is written: {error}"
        self.observe({"type": "log", "run_id": flight.spec.run_id, "text": text})
        self._take(flight.spec, {"type": "busy", "run_id": flight.spec.run_id})

    def _stumble(self, flight: Flight, text: str) -> None:
        """A node could not do its part (no room, a file that was lost): another one may. No run is to blame."""
        run_id = flight.spec.run_id
        self.stumbles[run_id] += 1
        self._give_back(flight)
        if self.stumbles[run_id] >= DEATHS:
            self.broken = f"{text} (the last of {DEATHS} times)"
        else:
            self.observe({"type": "log", "run_id": run_id, "text": f"{text}; it is tried again"})

    def _bury(self, flight: Flight, end: End) -> None:
        """A task died, or its node: its run goes on elsewhere from its last checkpoint, or is settled as failed. One
        that gets on may lose any number of nodes, one that takes its nodes with it does not go round for ever."""
        spec, run_id = flight.spec, flight.spec.run_id
        flight.close()
        if self.stop.requested:
            return
        if end.kind == "refused":
            self.broken = end.why
        elif flight.late is not None:
            reason = f"took longer than {self.timeout:g} seconds (--timeout) and was ended"
            self.debts.append(Debt(0.0, spec, flight.session, reason, flight.late or None))
        elif flight.began is None:
            self.unready_deaths += end.kind == "worker"
            if self.unready_deaths >= DEATHS:
                self.broken = f"workers die before they can work: the last {end.why}"
            self._give_back(flight)
        else:
            epochs = epochs_done(self.session.store.folder(run_id)) or 0
            often = self.deaths.count(run_id, epochs, memory=end.memory)
            if often is not None:
                reason = f"its worker {end.why}, {often}"
                self.debts.append(Debt(0.0, spec, flight.session, reason, end.details))
                return
            text = f"its worker {end.why}; it goes on from its last checkpoint"
            self.observe({"type": "log", "run_id": run_id, "text": text})
            self._give_back(flight)

    def _pay(self) -> None:
        """Settle runs whose worker cannot; later, where the lock of a process that just died is not free yet."""
        debts, self.debts = self.debts, []
        for debt in debts:
            if debt.after > time.monotonic():
                self.debts.append(debt)
                continue
            event = settle_for(replace(debt.session, device="cpu"), debt.spec, debt.reason, debt.trace)
            if event["type"] != "busy":
                self._take(debt.spec, event)
            elif not self.stop.requested:
                self.debts.append(replace(debt, after=time.monotonic() + BUSY_SECONDS))

    def _end_late(self) -> None:
        """End tasks that are over their time and do not end themselves: nothing in them gets a turn any more."""
        if self.timeout is None:
            return
        for flight in self.flights.values():
            if flight.began is not None and time.monotonic() - flight.began > self.timeout + LATE_SECONDS:
                flight.late = flight.late or ""
                self.engine.end(flight.reference)
