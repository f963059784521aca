"""One submitted run, as the command sees it: begun, heard, granted, ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from noisybench.execute.ray.engine import Engine, Lost, NotYet
from noisybench.execute.ray.lending import GRANTED, Lent
from noisybench.execute.ray.task import Answer
from noisybench.execute.work import Event, Session
from noisybench.spec import RunSpec

Observe = Callable[[Event], None]


@dataclass
class Flight:
    """``reference``: to its answer. ``began``: when its node began (monotonic). ``lent``: where its node does not see
    the store. ``late``: where the run was when its time was over (a traceback, or nothing)."""

    spec: RunSpec
    token: str
    reference: Any
    session: Session
    began: float | None = None
    lent: Lent | None = None
    late: str | None = None
    _grant: tuple[Event, tuple[Any, ...]] | None = None

    def hear(self, event: Event, observe: Observe) -> None:
        """StoreError where the store cannot be written, LeaseLost where another process has the run by now."""
        kind = event["type"]
        if kind == "begun" and self.began is None:
            self.began = time.monotonic()
            place = {"executor": "ray", "node": event["node"], "task": event["task"]}
            self.session = replace(self.session, place=place)
            observe({"type": "start", "run_id": self.spec.run_id})
        elif kind == "late":
            self.late = event["trace"]
        elif kind != "begun" and self.lent is not None:
            self.lent.hear(event, observe)
        elif kind != "begun":
            observe(event)

    def grant(self, engine: Engine, observe: Observe, *, stopping: bool) -> tuple[Event, tuple[Any, ...]]:
        """To a node that cannot see the store: the run is locked here now, or somebody else has it. Asked again (the
        mailbox was started again), the answer is the same."""
        if self._grant is None:
            answer: Event = {"type": "interrupted", "run_id": self.spec.run_id}
            references: tuple[Any, ...] = ()
            if not stopping:
                lent = Lent(self.session, self.spec)
                answer, luggage = lent.ask(observe)
                references = (engine.put(luggage),) if luggage else ()
                self.lent = lent if answer["type"] == GRANTED else None
                if self.lent is None:
                    lent.close()
            self._grant = answer, references
        return self._grant

    def keep(self, engine: Engine, sent: tuple[Any, ...], observe: Observe, seconds: float) -> None:
        """Write a checkpoint that the node sent, if it arrives."""
        if self.lent is None:
            return
        try:
            self.lent.keep(engine.get(sent[0], seconds))
        except (Lost, NotYet):
            return  # its node died, or it is slow: the next one will do
        except ValueError as error:
            observe({"type": "log", "run_id": self.spec.run_id, "text": f"a checkpoint was not kept: {error}"})

    def settle(self, answer: Answer) -> Event:
        """How the run ended; what its node sent is written first."""
        event = answer.event
        if self.lent is None or not answer.files:
            return event
        try:
            if event["type"] == "settled":
                return self.lent.settle(answer.files)
            self.lent.keep(answer.files)
        except ValueError as error:
            return {"type": "unable", "run_id": self.spec.run_id, "text": f"what a node sent is not whole: {error}"}
        return event

    def close(self) -> None:
        """Give back the lock, if it is held here."""
        if self.lent is not None:
            self.lent.close()
        self.lent = self._grant = None
