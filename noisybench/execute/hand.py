"""One worker process as its parent sees it: started, asked, ended, and why it died."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from noisybench.execute import worker
from noisybench.execute.work import Session
from noisybench.spec import RunSpec

START_METHOD = "spawn"
TRACE_SECONDS = 5.0
"""How long a hanging worker may take to say where it hangs."""


@dataclass
class Hand:
    """A worker process. ``since`` is when it began the run it has (monotonic), None before it is ready."""

    process: Any
    connection: Connection
    trace: Connection  # what faulthandler writes in the worker
    memory_kills: int
    spec: RunSpec | None = None
    ready: bool = False
    since: float | None = None

    def ask(self, spec: RunSpec) -> bool:
        """Hand it a run; False where it has died meanwhile."""
        try:
            self.connection.send((spec.run_id, spec.data))
        except OSError:
            return False
        self.spec = spec
        self.since = time.monotonic() if self.ready else None
        return True

    def get_ready(self) -> None:
        """It has imported everything and begins with what it was asked."""
        self.ready, self.since = True, time.monotonic()

    def where(self) -> str | None:
        """Where the worker is, as it says itself (a traceback); None where it does not answer."""
        if hasattr(signal, "SIGUSR1") and self.ready:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)
                select.select([self.trace.fileno()], [], [], TRACE_SECONDS)
                time.sleep(0.1)  # it writes line by line
        return self.last_words()

    def last_words(self) -> str | None:
        """What faulthandler wrote in the worker so far."""
        text = b""
        with contextlib.suppress(OSError, EOFError):
            while self.trace.poll():
                part = os.read(self.trace.fileno(), 65536)
                if not part:
                    break
                text += part
        return text.decode("utf-8", "replace").strip() or None

    def kill(self) -> None:
        """End it at once; its locks go with it, its run's last checkpoint stays."""
        with contextlib.suppress(ValueError):  # closed already
            self.process.kill()
            self.process.join(timeout=5)

    def close(self) -> None:
        """Give back what the parent holds of a process that has ended."""
        self.connection.close()
        self.trace.close()
        with contextlib.suppress(ValueError):
            self.process.close()

    @property
    def ran_out_of_memory(self) -> bool:
        """The system killed it for memory, as far as the system tells."""
        return self.process.exitcode == -9 and memory_kills() > self.memory_kills

    def why_it_died(self) -> str:
        """For a record, what is to follow "its worker"."""
        code = self.process.exitcode
        if code is None:
            return "ended, the system does not say how"
        if code >= 0:
            return f"ended with code {code}"
        if self.ran_out_of_memory:
            return "was killed by the system, which had run out of memory"
        hint = " (the system does this where memory runs out)" if code == -9 else ""
        return f"was killed by signal {-code}{hint}"


def hire(session: Session, stop_at: Synchronized[float]) -> Hand:
    """Start a worker; OSError where the system gives no more processes."""
    context = multiprocessing.get_context(START_METHOD)
    ours, theirs = context.Pipe()
    trace, traced = context.Pipe(duplex=False)
    process = context.Process(target=worker.main, args=(theirs, traced, session, stop_at), daemon=True)  # type: ignore[attr-defined]  # every context has it
    before = memory_kills()
    try:
        process.start()
    except BaseException:
        ours.close()
        trace.close()
        raise
    finally:
        theirs.close()
        traced.close()
    return Hand(process, ours, trace, before)


def memory_kills() -> int:
    """How many processes the system has killed for memory since it started, as far as it tells."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                name, _, value = line.partition(" ")
                total += int(value) if name == "oom_kill" else 0
    return total
