"""A worker process: imports once, then trains run after run until it is told to end or its parent is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from noisybench.execute.work import Event, Session, execute, load_plugins
from noisybench.spec import RunSpec


def main(connection: Connection, session: Session, stop_at: Synchronized[float], parent: int) -> None:
    """Serve ``(run_id, spec)`` requests on ``connection``; None ends the process.

    ``stop_at`` is the monotonic time at which epochs are given up, 0 while nobody asked to stop. Ctrl-C reaches the
    whole process group: the parent decides what it means, workers ignore it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    def send(event: Event) -> None:
        try:
            connection.send(event)
        except OSError:
            os._exit(1)  # the parent is gone: that is no failure of the run

    load_plugins(session.plugins)
    while (request := _receive(connection)) is not None:
        run_id, data = request
        send(execute(session, RunSpec(data, run_id), send, lambda: stop_at.value or None))


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _end_with(parent: int) -> None:
    """End this process at once when its parent has ended; locks go with it, the last checkpoint stays."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
