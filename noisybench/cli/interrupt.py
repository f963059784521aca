"""What Ctrl-C and SIGTERM do to ``noisybench run``."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from noisybench.execute.executor import Stop

END_SECONDS = 9.0
"""Seconds after the first signal by which the command ends, whatever hangs."""
TWICE = 0.5
"""Seconds within which a second signal is the first one again."""
INTERRUPTED = 130


@contextmanager
def terminable() -> Iterator[None]:
    """While nothing is being trained, SIGTERM does what Ctrl-C does: one line, and exit code 130."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        _say("noisybench: interrupted")
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopping(stop: Stop, said: str | None = None) -> Iterator[None]:
    """SIGINT and SIGTERM ask the runs to stop; a second SIGINT, or a run that does not stop, ends everything at once.
    Two within TWICE are one: ``timeout``, for one, signals a command and its group.

    ``said``: what to say then, where runs do not stop with this command.
    Ending at once costs what came after the last checkpoints: workers end with this process, and so do their locks.
    """
    timers: list[threading.Timer] = []
    first = math.inf

    def ask(number: int, frame: Any) -> None:
        nonlocal first
        first = min(first, time.monotonic())
        if timers and number == signal.SIGINT and time.monotonic() - first > TWICE:
            _end()
        if not timers:
            stop.request()
            timers.append(threading.Timer(END_SECONDS, _end))
            timers[0].daemon = True
            timers[0].start()
            _say(said or "Stopping: epochs that end within seconds are saved, others go back to their last checkpoint.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end() -> None:
    show_cursor = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
    _say(f"{show_cursor}Ended at once. Go on with the same command; runs go back to their last checkpoint.")
    os._exit(INTERRUPTED)


def _say(text: str) -> None:
    """Print from a signal handler, where Python's own buffers may be in the middle of a write."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
