"""A task's line to the command: what happens goes out once a second, the request to stop comes back."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noisybench.errors import StoreError
from noisybench.execute.ray.packing import pack
from noisybench.execute.work import Event
from noisybench.train import checkpoint, origin

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 120.0
"""A task that has not reached its command for so long ends: nobody waits for what it does."""

Post = Callable[[list[Event], tuple[Any, ...]], float | None]


class Line:
    """Entered while a task has a run. ``post`` sends events and a reference, and gives the seconds until epochs are to
    be given up; ``put`` makes a reference. A run that takes longer than ``timeout`` seconds says where it is, and the
    process ends: only that stops whatever it hangs in."""

    def __init__(
        self,
        post: Post,
        put: Callable[[Any], Any],
        *,
        timeout: float | None,
        every: float,
        end: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._post, self._put, self._timeout, self._every, self._end = post, put, timeout, every, end
        self._events: list[Event] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._stop_at: float | None = None
        self._began = self._heard = time.monotonic()
        self._main = threading.get_ident()
        self._home: Path | None = None
        self._sent: tuple[int, float] = (0, time.monotonic())  # which checkpoint was sent last, and when
        self._said = False  # what the run is made from
        self._reference: tuple[Any, ...] = ()  # keeps what was sent alive until something newer is
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over.set()
        self._thread.join()

    def observe(self, event: Event) -> None:
        """To be sent with the next beat."""
        with self._lock:
            self._events.append(event)

    def deadline(self) -> float | None:
        """When (``time.monotonic``) epochs are to be given up, None while nobody asked to stop."""
        return self._stop_at

    def watch(self, home: Path) -> None:
        """Send the checkpoints that are written there from now on."""
        self._sent = _written(home), time.monotonic()
        self._home = home

    def rest(self) -> list[Event]:
        """What was not sent; once the line is closed, with the results."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def beat(self) -> None:
        """One exchange with the command."""
        events, before = self.rest(), (self._sent, self._said)
        try:
            stop_in = self._post(events, self._files())
        except Exception:  # whatever Ray raises: the actor is being started again, or its node is away
            with self._lock:
                self._events[:0] = events
            self._sent, self._said = before  # what was packed did not arrive: again next time
            if time.monotonic() - self._heard > SILENCE_SECONDS:
                self._end()
            return
        self._heard = time.monotonic()
        if stop_in is not None and self._stop_at is None:
            self._stop_at = self._heard + stop_in

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.beat()
            if self._timeout is not None and time.monotonic() - self._began > self._timeout:
                self.observe({"type": "late", "trace": self._where()})
                self.beat()
                self._end()

    def _files(self) -> tuple[Any, ...]:
        """A reference to a checkpoint that is new, at most one in ``every`` seconds; first, at once, to what the run is
        made from: its record is to say that even if this process dies."""
        home = self._home
        if home is None:
            return ()
        names = [origin.FILE] if not self._said and (home / origin.FILE).is_file() else []
        written = _written(home)
        if written not in (0, self._sent[0]) and time.monotonic() - self._sent[1] >= self._every:
            names = [checkpoint.NAME, origin.FILE]
        try:
            packed = pack(home, names)
        except StoreError:  # it was just being replaced
            return ()
        if not packed:
            return ()
        self._said = True
        if checkpoint.NAME in packed:
            self._sent = written, time.monotonic()
        self._reference = (self._put(packed),)
        return self._reference

    def _where(self) -> str:
        frame = sys._current_frames().get(self._main)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _written(home: Path) -> int:
    try:
        return (home / checkpoint.NAME).stat().st_mtime_ns
    except OSError:
        return 0
