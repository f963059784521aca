"""What a worker does with one run: lock it, train it, settle it. The same for every executor."""

from __future__ import annotations

import contextlib
import errno
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from noisybench import __version__, registry
from noisybench.data import DataFolder
from noisybench.data.shared import SharedData
from noisybench.errors import DataError, InputError, StoreError
from noisybench.execute.running import Presence, forget
from noisybench.locks import LeaseLost, LeaseTimes
from noisybench.spec import PROTOCOL, RunSpec
from noisybench.store import Store, append_text

Event = dict[str, Any]

MACHINE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EMFILE", "ENFILE", "ENODEV")
    if hasattr(errno, name)
}
"""Errors of the machine: no method is to blame, and every other run would meet them too."""


LOOKED_AT = 0.5
"""Seconds to wait for a run's lock: somebody who asks who trains a run may hold it for a moment."""


@dataclass(frozen=True)
class Session:
    """What all runs of one command share; small and picklable."""

    root: Path
    data_dir: Path
    suite_dir: Path | None
    device: str = "cpu"
    threads: int = 1
    plugins: tuple[str, ...] = ()
    keep_weights: str = "auto"
    first_seed: int = 0
    leases: LeaseTimes | None = None
    shared: SharedData | None = None
    place: Mapping[str, str] = field(default_factory=lambda: {"executor": "local"})  # for the record
    plugin_hashes: tuple[str, ...] = ()  # what the plug-ins were when the suite was read
    code: tuple[str, int] = (__version__, PROTOCOL)  # that of the command; a job may start days later
    moved: Mapping[str, Path] = field(default_factory=dict)  # files that lie elsewhere here, by their name in the suite

    @property
    def store(self) -> Store:
        """The suite's folder."""
        return Store(self.root, self.leases)

    @property
    def folder(self) -> DataFolder:
        """Where data lies."""
        return DataFolder(self.data_dir, self.suite_dir, moved=self.moved)

    def weights(self, seed: int) -> str:
        """The policy for one run: under ``auto`` the first seed keeps its weights whatever their size."""
        return "all" if self.keep_weights == "auto" and seed == self.first_seed else self.keep_weights


def execute(
    session: Session, spec: RunSpec, observe: Callable[[Event], None], stop_after: Callable[[], float | None]
) -> Event:
    """Train one run and say how it ended: an event of type ``settled``, ``busy`` (another process has it),
    ``interrupted`` (asked to stop; resumable) or ``broken`` (store or data cannot be used: nothing can go on).

    Where this process cannot use its GPU any more, the event has a text under ``unfit``: whoever hands out runs must
    give it no other."""
    event = _execute(session, spec, observe, stop_after)
    unfit = let_go(session.device)
    return event if unfit is None else event | {"unfit": unfit}


def let_go(device: str) -> str | None:
    """Free what a run had on a GPU, which else stays until Python looks for cycles; returns why this process cannot
    use the GPU any more (every run that it were given would fail), or None."""
    if not device.startswith("cuda"):
        return None
    import torch

    gc.collect()
    try:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    except RuntimeError as error:
        return f"{device} cannot be used: {str(error).partition(chr(10))[0]}"
    return None


def _execute(
    session: Session, spec: RunSpec, observe: Callable[[Event], None], stop_after: Callable[[], float | None]
) -> Event:
    from noisybench.train.record import write_failure
    from noisybench.train.trainer import Interrupted, train

    store, run_id = session.store, spec.run_id
    base: Event = {"run_id": run_id}
    try:
        store.require()
        with store.lock(run_id).acquire(timeout=LOOKED_AT):
            store.sweep(run_id)
            record, problem = store.settled(run_id)
            if problem:
                observe(base | {"type": "log", "text": problem})
            if record is not None:
                return base | how_it_ended(record)
            presence = Presence(store, run_id, session.place)

            def tell(event: Event) -> None:
                presence.hear(event)
                keep_log(store, event, observe)

            try:
                with presence:
                    record = train(
                        spec,
                        store,
                        session.folder,
                        device=session.device,
                        threads=session.threads,
                        observe=tell,
                        stop_after=stop_after,
                        keep_weights=session.weights(spec.seed),
                        place=session.place,
                    )
            except Interrupted:
                return base | {"type": "interrupted"}
            except (StoreError, DataError):
                raise
            except (Exception, SystemExit) as error:
                if isinstance(error, OSError) and error.errno in MACHINE:
                    raise
                record = write_failure(store, spec, error, device=session.device, place=session.place)
            return told(store, record)
    except Timeout:
        return base | {"type": "busy"}
    except LeaseLost as error:
        observe(base | {"type": "log", "text": f"stopped here, nothing more is written: {error}"})
        return base | {"type": "busy"}
    except (StoreError, DataError, OSError) as error:
        return base | {"type": "broken", "text": str(error)}


def settle_for(session: Session, spec: RunSpec, reason: str, trace: str | None) -> Event:
    """Settle a run as failed whose worker cannot do so any more; ``busy`` where another process has it by now."""
    from noisybench.train.record import write_failure

    store = session.store
    try:
        store.require()
        with store.lock(spec.run_id).acquire(timeout=0):
            record, _ = store.settled(spec.run_id)
            if record is None:  # it did not die after its last word
                record = write_failure(store, spec, reason, device=session.device, trace=trace, place=session.place)
            forget(store.folder(spec.run_id))
            return told(store, record)
    except Timeout:
        return {"type": "busy", "run_id": spec.run_id}
    except (StoreError, OSError) as error:
        return {"type": "broken", "run_id": spec.run_id, "text": str(error)}


def told(store: Store, record: dict[str, Any]) -> Event:
    """The last line of a run's log, and the event of its settling."""
    with contextlib.suppress(StoreError):  # the record is there: a line in a log is not worth a failure
        text = f"{_stamp()} settled: {record['result']['status']}\n"
        append_text(store.folder(record["run_id"]) / "run.log", text)
    return {"run_id": record["run_id"]} | how_it_ended(record)


def how_it_ended(record: dict[str, Any]) -> Event:
    """The event of a settled run, without its id."""
    result, provenance = record["result"], record["provenance"]
    return {
        "type": "settled",
        "status": result["status"],
        "test_accuracy": (result["test_accuracy"] or {}).get("last"),
        "seconds": (provenance.get("seconds") or {}).get("total"),
        "error": provenance.get("error"),
    }


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def keep_log(store: Store, event: Event, observe: Callable[[Event], None]) -> None:
    """Pass an event on, and keep a line of it in the run's ``run.log``."""
    home = store.folder(event["run_id"])
    if home.is_dir():
        if event["type"] == "epoch":
            text = f"epoch {event['epoch']}/{event['epochs']} loss {event['train_loss']:.4f}"
            text += f" test {event['test_accuracy']:.2f}"
        else:
            text = event["text"]
        append_text(home / "run.log", f"{_stamp()} {text}\n")
    observe(event)


def load_code(session: Session) -> None:
    """Register the session's plug-ins in this process. InputError where they, or this package, are not those that the
    runs were planned with: their ids would name other code."""
    if session.code != (__version__, PROTOCOL):
        version, protocol = session.code
        raise InputError(
            f"planned with noisybench {version} ({protocol}), but here is {__version__} ({PROTOCOL}): "
            "run the same command again"
        )
    for path, wanted in zip(session.plugins, session.plugin_hashes, strict=False):
        if registry.load_plugin(path) != wanted:
            raise InputError(f"--plugin {path}: changed since the suite was read; run the same command again")


def load_plugins(plugins: tuple[str, ...]) -> None:
    """Register every ``--plugin`` file in this process."""
    for plugin in plugins:
        registry.load_plugin(plugin)
