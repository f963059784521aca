"""What a node does with one run: get what it needs, train it as everywhere, hand over what it leaves."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import noisybench
from noisybench.errors import NoisybenchError, StoreError
from noisybench.execute.ray.engine import Engine, Lost, load
from noisybench.execute.ray.goods import Goods, room, unload
from noisybench.execute.ray.lending import GRANTED
from noisybench.execute.ray.line import Line
from noisybench.execute.ray.packing import Packed, pack, pack_results, unpack
from noisybench.execute.work import Event, Session, execute
from noisybench.spec import RunSpec
from noisybench.train import checkpoint, origin
from noisybench.train.numerics import choose_device

POST_SECONDS = 30.0


@dataclass(frozen=True)
class Job:
    """A run for a node. ``token``: of this attempt. ``probe``: a file in the store and what is in it; who can read that
    sees the store."""

    token: str
    run_id: str
    data: Mapping[str, Any]
    session: Session
    goods: Goods
    probe: tuple[str, str]
    shared: str
    timeout: float | None
    checkpoint_every: float
    version: str = noisybench.__version__

    @property
    def spec(self) -> RunSpec:
        """The run."""
        return RunSpec(self.data, self.run_id)


@dataclass(frozen=True)
class Answer:
    """How it ended: an event as ``work.execute`` gives it, or ``unable`` (this node cannot) or ``refused`` (no node
    can). ``files``: results or the last checkpoint, where the node does not see the store; ``rest``: unsent events."""

    event: Event
    files: Packed
    rest: list[Event]


def train_run(job: Job, mailbox: Any) -> Answer:
    """The task. Nothing is raised: what a method raises is in the record, and Ray is not to try again."""
    if job.version != noisybench.__version__:
        text = f"{socket.gethostname()} has noisybench {noisybench.__version__}, this command {job.version}"
        return Answer({"type": "refused", "run_id": job.run_id, "text": text}, {}, [])
    import_trainer()
    engine, context = Engine(aside=True), load().get_runtime_context()
    node, task = f"{socket.gethostname()}/{context.get_node_id()[:8]}", str(context.get_task_id())

    def post(events: list[Event], reference: tuple[Any, ...]) -> float | None:
        left: float | None = engine.get(mailbox.post.remote(job.token, events, reference), POST_SECONDS)
        return left

    line = Line(post, engine.put, timeout=job.timeout, every=job.checkpoint_every)
    line.observe({"type": "begun", "node": node, "task": task})
    line.beat()
    try:
        with line, room().opened():
            event, files = _train(job, line, {"executor": "ray", "node": node, "task": task}, engine.get, mailbox)
    except (Lost, StoreError, OSError, ValueError) as error:
        event, files = {"type": "unable", "text": f"{node}: {error}"}, {}
    except NoisybenchError as error:
        event, files = {"type": "refused", "text": f"{node}: {error}"}, {}
    return Answer({**event, "run_id": job.run_id}, files, line.rest())


def import_trainer() -> None:
    """Before anything is timed: the first run of a process would pay for it."""
    importlib.import_module("noisybench.train.trainer")


def _train(
    job: Job, line: Line, place: Mapping[str, str], get: Callable[..., Any], mailbox: Any
) -> tuple[Event, Packed]:
    sees = _sees_store(job)
    if job.shared == "yes" and not sees:
        return {"type": "refused", "text": _unseen(job)}, {}
    session = unload(job.session, job.spec, job.goods, get)
    wanted = "cuda" if session.device.startswith("cuda") else session.device  # Ray shows a task its own GPUs only
    session = replace(session, device=choose_device(wanted), place=place)
    if sees and job.shared != "no":
        return execute(session, job.spec, line.observe, line.deadline), {}
    return _away_from_the_store(job, line, session, get(mailbox.ask.remote(job.token)), get)


def _away_from_the_store(
    job: Job, line: Line, session: Session, grant: tuple[Event, tuple[Any, ...]], get: Callable[..., Any]
) -> tuple[Event, Packed]:
    """Train in a store of this run's own, which comes with what the command's store has and goes with the results."""
    answer, references = grant
    if answer["type"] != GRANTED:
        return answer, {}
    folder = session.data_dir.parent / "store"
    folder.mkdir()
    for reference in references:
        for run_id, packed in get(reference).items():
            unpack(packed, folder / run_id)
    own = replace(session, root=folder, leases=None)
    home = own.store.folder(job.run_id)
    line.watch(home)
    event = execute(own, job.spec, line.observe, line.deadline)
    if event["type"] == "settled":
        return event, pack_results(home)
    if event["type"] == "interrupted":
        return event, pack(home, (checkpoint.NAME, origin.FILE))
    return {"type": "unable", "text": event.get("text", event["type"])}, {}


def _sees_store(job: Job) -> bool:
    path, content = Path(job.probe[0]), job.probe[1]
    try:
        return path.read_text() == content and os.access(path.parent, os.W_OK)
    except OSError:
        return False


def _unseen(job: Job) -> str:
    return (
        f"{socket.gethostname()} does not see {job.session.root} (shared: yes); with shared: auto, runs there would "
        "send their results"
    )
