"""The actor between a command and its tasks: letters one way, grants and the request to stop the other.

It holds what nobody has fetched yet and nothing else: of each task at most LINES events and the reference to its newest
checkpoint (never the bytes). Should it be started again, tasks repeat what they asked, and the command what it said.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LINES = 200
"""Events of one task that wait to be fetched; the oldest go first."""


@dataclass
class Letter:
    """From one task. ``checkpoint``: a reference to packed files, in a tuple so that it is not resolved on its way.
    ``asks``: it waits to be told whether it may train."""

    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LINES))
    checkpoint: tuple[Any, ...] = ()
    asks: bool = False


class Mailbox:
    """An actor without a processor of its own, on the node of the command."""

    def __init__(self) -> None:
        self._letters: dict[str, Letter] = {}
        self._posted = asyncio.Event()
        self._asking: dict[str, asyncio.Future[Any]] = {}
        self._stop_at: float | None = None

    async def post(
        self, token: str, events: Sequence[dict[str, Any]], checkpoint: tuple[Any, ...] = ()
    ) -> float | None:
        """From a task: what happened since it last wrote. Returns in how many seconds epochs are to be given up."""
        if events or checkpoint:
            letter = self._letter(token)
            letter.events.extend(events)
            letter.checkpoint = checkpoint or letter.checkpoint
        return self._stop_in()

    async def ask(self, token: str) -> Any:
        """From a task: waits until the command grants the run, or says why not."""
        self._letter(token).asks = True
        answer = self._asking.setdefault(token, asyncio.get_running_loop().create_future())
        return await asyncio.shield(answer)

    async def answer(self, token: str, grant: Any) -> None:
        """From the command."""
        answer = self._asking.pop(token, None)
        if answer is not None and not answer.done():
            answer.set_result(grant)

    async def take(self, seconds: float, stop_in: float | None) -> dict[str, Letter]:
        """From the command: everything posted since the last time; waits up to ``seconds`` for something."""
        if stop_in is not None and self._stop_at is None:
            self._stop_at = time.monotonic() + stop_in
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._posted.wait(), seconds)
        letters, self._letters = self._letters, {}
        self._posted.clear()
        return letters

    def _letter(self, token: str) -> Letter:
        self._posted.set()
        return self._letters.setdefault(token, Letter())

    def _stop_in(self) -> float | None:
        return None if self._stop_at is None else self._stop_at - time.monotonic()
