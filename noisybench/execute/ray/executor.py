"""The Ray executor: a cluster that this process is connected to, and what it takes to have runs trained there."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noisybench.errors import InputError, StoreError
from noisybench.execute.executor import Stop
from noisybench.execute.queue import Queue
from noisybench.execute.ray.dispatch import Dispatch
from noisybench.execute.ray.engine import Engine, load
from noisybench.execute.ray.goods import Shipper
from noisybench.execute.ray.mailbox import Mailbox
from noisybench.execute.ray.needs import Need
from noisybench.execute.ray.task import Job, train_run
from noisybench.execute.settings import RaySettings
from noisybench.execute.work import Event, Session
from noisybench.spec import RunSpec

PROBE = "probe.*.ray"
OLD_SECONDS = 30 * 24 * 3600.0
"""A probe that is older belongs to no command any more."""
MOST_ASKING = 100_000
"""Calls of tasks that may wait in the mailbox at a time."""


def connect(address: str) -> Mapping[str, float]:
    """Join the cluster (``local``: start one on this machine); returns its resources. InputError in one line."""
    ray = load()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {"include_dashboard": False} if address == "local" else {}
    if not ray.is_initialized():
        with _own_signals():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
            except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
                first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
                text = f"--address {address}: no cluster to work on: {first.rstrip('.')}"
                remedy = "ray start --head starts one, --address local one for this command; one that asks for a token"
                raise InputError(f"{text} ({remedy} needs RAY_AUTH_MODE=token and its token here)") from error
    return Engine().resources()


@contextmanager
def _own_signals() -> Iterator[None]:
    """What Ctrl-C and SIGTERM do is this program's matter."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            with contextlib.suppress(ValueError):  # not the main thread: nothing was changed either
                signal.signal(number, handler)


@dataclass(frozen=True)
class Ray:
    """A cluster that this process is connected to. ``timeout``: seconds a run may take on its node. ``own``: the
    connection is this command's, and ends with a request to stop."""

    settings: RaySettings
    needs: Need
    timeout: float | None = None
    own: bool = False

    @property
    def parallel(self) -> int:
        """Runs at once, now; a cluster may grow, so never one."""
        return max(2, self.needs.fits(Engine().resources()))

    def work(self, session: Session, queue: Queue, observe: Callable[[Event], None], stop: Stop) -> str | None:
        """Train what is in the queue on the cluster; returns why nothing can go on, or None."""
        _more_files()
        engine, sent, settings = Engine(), replace(session, shared=None), self.settings
        shipper = Shipper(session, engine.put)
        resources = {"num_cpus": self.needs.cpus, "num_gpus": self.needs.gpus, "memory": self.needs.memory or None}
        task = load().remote(max_retries=0, **resources)(train_run)  # trying again is our matter: we know checkpoints
        with _probe(session.root / ".locks") as probe, _mailbox() as mailbox:

            def submit(spec: RunSpec, token: str) -> Any:
                job = Job(
                    token,
                    spec.run_id,
                    spec.data,
                    sent,
                    shipper.goods(spec),
                    probe,
                    settings.shared,
                    self.timeout,
                    settings.checkpoint_every,
                )
                return task.options(name=f"noisybench {spec.run_id}").remote(job, mailbox)

            def slots() -> int:
                return self.needs.fits(engine.resources())

            dispatch = Dispatch(session, queue, observe, stop, engine, mailbox, submit, slots, self.timeout)
            try:
                dispatch.work()
            finally:
                dispatch.dismiss()
        if stop.requested and self.own:  # now, while whoever asked still has a limit on how long everything may take
            load().shutdown()
        return dispatch.broken


@contextmanager
def _mailbox() -> Iterator[Any]:
    """The actor through which tasks are heard, on the node this process is connected to."""
    ray = load()
    affinity = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
    here = affinity(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": MOST_ASKING}
    mailbox = ray.remote(**options)(Mailbox).options(scheduling_strategy=here).remote()
    try:
        yield mailbox
    finally:
        with contextlib.suppress(Exception):  # whatever is left of the cluster
            ray.kill(mailbox)


@contextmanager
def _probe(folder: Path) -> Iterator[tuple[str, str]]:
    """A file among the store's locks: a node that reads its content sees the store."""
    token = secrets.token_hex(16)
    path = folder / PROBE.replace("*", token)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(PROBE):
            if time.time() - old.stat().st_mtime > OLD_SECONDS:
                old.unlink(missing_ok=True)
        path.write_text(token)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield str(path), token
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _more_files() -> None:
    """A lock on each run in progress is an open file: allow as many as the system lets this process."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
