"""A two-node Ray cluster on this machine, and a small study to be disturbed there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_runs import small_spec

from noisybench.execute.executor import Stop
from noisybench.execute.local import Local
from noisybench.execute.running import read
from noisybench.execute.settings import RaySettings
from noisybench.execute.study import Outcome, run_study, take_stock
from noisybench.execute.work import Event, Session
from noisybench.spec import RunSpec
from noisybench.store import Store

PAUSING = """
import pathlib
import time

import noisybench.train.trainer as trainer

trainer.CHECKPOINT_SECONDS = trainer.CHECKPOINT_COST = 0.0
train_one_epoch = trainer.Run.train_one_epoch


def slowly(run, epoch):
    if not pathlib.Path({gate!r}).exists():
        time.sleep({pause})
    train_one_epoch(run, epoch)


trainer.Run.train_one_epoch = slowly
"""


def pausing(folder: Path, pause: float, until: Path | None = None) -> str:
    """A plug-in that makes epochs take a while, and a checkpoint after each of them; it changes no result. Epochs take
    no longer than usual once the file ``until`` is there."""
    path = folder / "pausing.py"
    path.write_text(PAUSING.format(pause=pause, gate=str(until or folder / "never")))
    return str(path)


def small_study(epochs: int, seeds: int = 2) -> list[RunSpec]:
    """Teachers, each with a student; precision fp32."""
    runs = []
    for seed in range(seeds):
        teacher = small_spec({"training.precision": "fp32", "training.epochs": epochs, "seed": seed})
        runs += [teacher, small_spec({**flat(teacher), "method.relabel": teacher.run_id})]
    return sorted(runs, key=lambda spec: spec.teacher is not None)


def flat(spec: RunSpec) -> dict[str, Any]:
    """What ``small_study`` changes."""
    training = spec.data["training"]
    return {"training.precision": "fp32", "training.epochs": training["epochs"], "seed": spec.seed}


QUICKLY_MISSED = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 8,
}
"""Ray's settings, by which a node that is gone is known to be gone within seconds."""


class Nodes:
    """A cluster of a head without processors and of nodes with one each; ``join``: this process works with it."""

    def __init__(self, count: int, *, join: bool = True, **head: Any) -> None:
        import ray
        from ray.cluster_utils import Cluster

        small = {"object_store_memory": 100 * 2**20}
        head["_system_config"] = QUICKLY_MISSED | head.get("_system_config", {})
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small, **head}
        )
        self.nodes = [self.cluster.add_node(num_cpus=1, **small) for _ in range(count)]
        self.joined = join
        if join:
            ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def lose(self, number: int) -> None:
        """Kill a node and all that runs on it."""
        self.cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def replace(self) -> None:
        """Another node joins; from the main thread, as Ray wants it."""
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20))

    def number_of(self, store: Store, run_id: str) -> int | None:
        """Which node trains a run, as the run's folder says."""
        running = read(store.folder(run_id))
        where = "" if running is None else running.place.get("node", "").partition("/")[2]
        ids = [node.node_id[:8] for node in self.nodes]
        return ids.index(where) if where in ids else None

    def down(self) -> None:
        import ray

        if self.joined:
            ray.shutdown()
        self.cluster.shutdown()


def on_ray(
    session: Session,
    runs: list[RunSpec],
    address: str,
    *,
    observe: Callable[[Event], None] = lambda event: None,
    timeout: float | None = None,
    stop: Stop | None = None,
    **settings: Any,
) -> tuple[Outcome, list[Event]]:
    """Train what is to do on the cluster, as ``run --executor ray`` does."""
    from noisybench.execute.ray.executor import Ray, connect
    from noisybench.execute.ray.needs import need

    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)
        observe(event)

    wanted = RaySettings(address=address, **{"checkpoint_every": 0.0, **settings})
    engine = Ray(wanted, need(wanted, connect(address), session.device, session.threads), timeout)
    outcome = run_study(session, runs, take_stock(session.store, runs, {}), note, stop or Stop(), engine)
    return outcome, events


def at_home(session: Session, runs: list[RunSpec], root: Path) -> dict[str, str]:
    """What the runs give on this machine without Ray: run id -> hash of its result."""
    own = dataclasses.replace(session, root=root, plugins=())
    outcome = run_study(own, runs, take_stock(own.store, runs, {}), lambda event: None, Stop(), Local(0))
    assert outcome.exit_code == 0, outcome
    return hashes(own.store, runs)


def hashes(store: Store, runs: list[RunSpec]) -> dict[str, str]:
    """Run id -> hash of its result; a missing record is an error."""
    records = {spec.run_id: store.read_record(spec.run_id) for spec in runs}
    return {run_id: record["result_sha256"] for run_id, record in records.items() if record is not None}


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until it holds; an error where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
