"""A run that is trained where the store cannot be seen: locked here, and what comes from there is kept here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from filelock import Timeout

from noisybench.errors import StoreError
from noisybench.execute.ray.packing import RECORD, Packed, opened, pack, record_in, sealed
from noisybench.execute.running import Presence
from noisybench.execute.work import Event, Session, how_it_ended, keep_log, told
from noisybench.files import append_text, write_atomic
from noisybench.spec import RunSpec, sha256_of
from noisybench.store import SCHEMA, SETTLED, damage
from noisybench.train import checkpoint, origin

Luggage = dict[str, Packed]
"""Run id -> files that a node needs before it can begin: the run's own, and its teacher's."""
GRANTED = "granted"


class Lent:
    """One run, from the moment a node asks for it until it is settled or given up.

    The lock is this process's: when it dies, the run is free, and whatever the node still does reaches nobody."""

    def __init__(self, session: Session, spec: RunSpec) -> None:
        self.spec, self.store, self.place = spec, session.store, session.place
        self._home = self.store.folder(spec.run_id)
        self._presence: Presence | None = None
        self._held = contextlib.ExitStack()

    def ask(self, observe: Callable[[Event], None]) -> tuple[Event, Luggage]:
        """May it be trained? ``granted`` with what the node needs, else how it is with the run: an event of type
        ``settled``, ``busy`` or ``broken``, as ``work.execute`` gives them."""
        store, run_id = self.store, self.spec.run_id
        base: Event = {"run_id": run_id}
        try:
            store.require()
            self._held.enter_context(store.lock(run_id).acquire(timeout=0))
            store.sweep(run_id)
            record, problem = store.settled(run_id)
            if problem:
                observe(base | {"type": "log", "text": problem})
            if record is not None:
                return base | how_it_ended(record), {}
            luggage = self._luggage(observe)
            self._presence = Presence(store, run_id, self.place)
            self._held.enter_context(self._presence)
            if run_id not in luggage:
                (self._home / "epochs.jsonl").unlink(missing_ok=True)
            store.mend_spec(self.spec)
            return base | {"type": GRANTED}, luggage
        except Timeout:
            return base | {"type": "busy"}, {}
        except (StoreError, OSError) as error:
            self.close()
            return base | {"type": "broken", "text": str(error)}, {}

    def _luggage(self, observe: Callable[[Event], None]) -> Luggage:
        found: Luggage = {}
        newest, problems = checkpoint.newest(self._home)
        for text in problems:
            observe({"type": "log", "run_id": self.spec.run_id, "text": text})
        if newest is not None:
            found[self.spec.run_id] = {checkpoint.NAME: sealed(newest)}
        if self.spec.teacher is not None:
            found[self.spec.teacher] = pack(self.store.folder(self.spec.teacher), (RECORD, "predictions.npz"))
        return found

    def hear(self, event: Event, observe: Callable[[Event], None]) -> None:
        """Take note of an epoch or a line of log, and pass it on."""
        if self._presence is not None:
            self._presence.hear(event)
        if event["type"] == "epoch":
            self._write_row(event)
        keep_log(self.store, event, observe)

    def _write_row(self, event: Event) -> None:
        """Keep ``epochs.jsonl`` near what the node has; the file that comes with the results replaces it."""
        row = {key: value for key, value in event.items() if key not in ("type", "run_id", "epochs")}
        path = self._home / "epochs.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        if len(lines) >= row["epoch"]:  # trained again from an earlier checkpoint
            write_atomic(path, "".join(lines[: row["epoch"] - 1]).encode(), parents=False)
        append_text(path, json.dumps(row) + "\n")

    def keep(self, packed: Packed) -> None:
        """Write a checkpoint that the node sent; ValueError where it did not arrive whole."""
        files = opened(packed)
        self._may_write()
        if origin.FILE in files:
            write_atomic(self._home / origin.FILE, files[origin.FILE], parents=False)
        if checkpoint.NAME in files:
            checkpoint.keep(self._home, files[checkpoint.NAME])

    def settle(self, packed: Packed) -> Event:
        """Write what a settled run left, its record last; ValueError, before that, where something is not whole."""
        files = opened(packed)
        record = self._checked(record_in(files))
        self._may_write()
        for name, data in files.items():
            if name != RECORD:
                write_atomic(self._home / name, data, parents=False)
        found = damage(self._home, record)
        if found:
            raise ValueError("; ".join(found.values()))
        self._may_write()
        write_atomic(self._home / RECORD, files[RECORD], parents=False)
        if record["result"]["status"] != "failed":
            checkpoint.remove(self._home)
        origin.forget(self._home)
        return told(self.store, record)

    def _checked(self, record: Mapping[str, Any]) -> dict[str, Any]:
        whole = record.get("schema") == SCHEMA and record.get("run_id") == self.spec.run_id
        if not whole or record.get("result_sha256") != sha256_of(record.get("result")):
            raise ValueError("its record does not describe this run")
        if record["result"].get("status") not in SETTLED:
            raise ValueError("its record does not say how it ended")
        return dict(record)

    def _may_write(self) -> None:
        """StoreError where the store vanished; LeaseLost where another process has the run by now."""
        self.store.require()
        self.store.check(self.spec.run_id)

    def close(self) -> None:
        """Give the run back."""
        self._held.close()
