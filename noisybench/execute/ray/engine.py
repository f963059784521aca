"""What this package asks of Ray, and why a task gave no answer. The only module that imports ``ray``."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["worker", "node", "refused"]


@dataclass(frozen=True)
class End:
    """What died, in words that follow "its worker". ``worker``: its process did. ``node``: all of its node did, or what
    it had sent was lost with one. ``refused``: Ray could not run it, and could no other. ``details``: for a record's
    traceback, where there is more to say. ``memory``: there was not enough of it."""

    kind: Kind
    why: str
    details: str | None = None
    memory: bool = False


class Lost(Exception):
    """A task, or something that was put, is gone."""

    def __init__(self, end: End) -> None:
        super().__init__(end.why)
        self.end = end


class NotYet(Exception):
    """It is still on its way."""


def load() -> Any:
    """The package, which nobody but this module names."""
    return importlib.import_module("ray")


class Engine:
    """A process's connection to a cluster.

    ``aside``: for a task. Ray gives the processor of a task to another one while the task's main thread waits for
    something, and both go on together afterwards; what waits in another thread keeps it.
    """

    def __init__(self, *, aside: bool = False) -> None:
        self._ray = load()
        self._aside = aside
        self._exceptions = importlib.import_module("ray.exceptions")

    def put(self, value: Any) -> Any:
        """A reference to ``value``, whose arrays every process of a node maps from one copy."""
        return self._ray.put(value)

    def get(self, reference: Any, seconds: float | None = None) -> Any:
        """What a reference stands for; NotYet after so many seconds, Lost where there is nothing any more."""
        try:
            if not self._aside:
                return self._ray.get(reference, timeout=seconds)
            with ThreadPoolExecutor(1) as other:
                return other.submit(self._ray.get, reference, timeout=seconds).result()
        except self._exceptions.GetTimeoutError as error:
            raise NotYet from error
        except self._exceptions.RayError as error:
            raise Lost(why(error)) from error

    def wait(self, references: Sequence[Any], seconds: float) -> None:
        """Until one of them is there or failed."""
        self._ray.wait(list(references), num_returns=1, timeout=seconds, fetch_local=False)

    def ended(self, references: Sequence[Any]) -> list[Any]:
        """Those that are there or failed; nothing is fetched."""
        if not references:
            return []
        ready, _ = self._ray.wait(list(references), num_returns=len(references), timeout=0, fetch_local=False)
        return list(ready)

    def end(self, reference: Any) -> None:
        """End a task at once, with its process."""
        with contextlib.suppress(self._exceptions.RayError, ValueError):
            self._ray.cancel(reference, force=True)

    def resources(self) -> Mapping[str, float]:
        """Of the cluster, as it is now."""
        return dict(self._ray.cluster_resources())


def why(error: Any) -> End:
    """From what ``ray.get`` raised."""
    known = importlib.import_module("ray.exceptions")
    text = str(error).strip()
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, known.OutOfMemoryError):
        return End("worker", "was killed by Ray, as its node was running out of memory", text, memory=True)
    if isinstance(error, known.NodeDiedError):
        return End("node", "was lost with its node", text)
    if isinstance(error, known.ObjectLostError):
        return End("node", "had ended, but what it left was lost with its node", text)
    if isinstance(error, (known.WorkerCrashedError, known.TaskCancelledError)):
        return End("worker", "died (killed, or crashed; the system does this where memory runs out)")
    if isinstance(error, known.RayTaskError):
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), first)
        return End(
            "refused", f"a node cannot work: {last} (every node needs the same noisybench as this machine)", text
        )
    if isinstance(error, (known.RuntimeEnvSetupError, known.TaskUnschedulableError)):
        return End("refused", f"Ray cannot run it: {first}", text)
    return End("worker", f"was lost ({first})", text)
