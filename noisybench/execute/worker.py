"""A worker process: imports once, then trains run after run until it is told to end or its parent is gone."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from noisybench.errors import NoisybenchError
from noisybench.execute.work import Event, Session, execute, let_go, load_code, load_plugins
from noisybench.spec import RunSpec


def main(connection: Connection, trace: Connection, session: Session, stop_at: Synchronized[float]) -> None:
    """Serve ``(run_id, spec)`` requests on ``connection``; None ends the process.

    ``stop_at`` is the monotonic time at which epochs are given up, 0 while nobody asked to stop. Ctrl-C and a
    scheduler's SIGTERM reach every process of the group: the parent decides what they mean, workers ignore them.
    So with SIGUSR2, which Slurm sends before a time limit. On SIGUSR1, and when it crashes, the process writes to
    ``trace`` where it is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable(file=trace.fileno(), all_threads=False)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        faulthandler.register(signal.SIGUSR1, file=trace.fileno(), all_threads=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(event: Event) -> None:
        try:
            connection.send(event)
        except OSError:
            os._exit(1)  # the parent is gone: that is no failure of the run

    try:
        load_code(session)
    except NoisybenchError as error:
        send({"type": "broken", "run_id": "", "text": str(error)})
        return
    load_plugins(session.plugins)
    import noisybench.train.trainer  # noqa: F401  # now, so that no run's time is spent on it
    from noisybench.train.kept import adopt

    adopt(session.shared)
    unfit = let_go(session.device)
    if unfit is not None:  # another one may have more luck, when the GPU's memory is free again
        os.write(trace.fileno(), unfit.encode())
        os._exit(1)
    send({"type": "ready", "run_id": ""})
    while (request := _receive(connection)) is not None:
        run_id, data = request
        send(execute(session, RunSpec(data, run_id), send, lambda: stop_at.value or None))


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _end_with_parent() -> None:
    """End this process at once when its parent has ended; locks go with it, the last checkpoint stays."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
