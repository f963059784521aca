"""``running.json`` in a run's folder: who trains it. A view, written by whoever holds the run's lock; no proof.

A reader believes it only while its writer lives: on the same machine that is asked of the system, by number and birth
of the process. Elsewhere the run's lock is tried for a moment, which a living holder does not notice; a lease is read.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisybench import locks
from noisybench.store import Store

NAME = "running.json"


@dataclass(frozen=True)
class Running:
    """``since``: UTC, ISO 8601. ``epochs``: of the whole run, None before its first epoch. ``place``: as in a record.
    ``holder``: the process."""

    since: str
    host: str
    place: Mapping[str, str] = field(default_factory=dict)
    epochs: int | None = None
    holder: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """``host, process 123``, or ``host, slurm job 12_3``."""
        job = self.place.get("job")
        engine = self.place.get("executor", "local")
        if job:
            return f"{self.place.get('node') or self.host}, {engine} job {job}"
        pid = f"process {self.holder.get('pid')}"
        return f"{self.place.get('node') or self.host}, {pid if engine == 'local' else f'{engine}, {pid}'}"


class Presence:
    """Says that this process trains a run, as long as it is entered. The caller holds the run's lock.

    That it cannot be said (a full disk) is no reason not to train."""

    def __init__(self, store: Store, run_id: str, place: Mapping[str, str]) -> None:
        self._home, self._place = store.folder(run_id), dict(place)
        self._epochs: int | None = None
        self._since = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._holder = locks.this_process()

    def __enter__(self) -> Presence:
        self._say()
        return self

    def __exit__(self, *details: object) -> None:
        found = read(self._home)
        if found is not None and found.holder == self._holder:  # another process may have taken a lost lease
            forget(self._home)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Say how many epochs there are once the first event tells."""
        if event["type"] == "epoch" and self._epochs is None:
            self._epochs = event["epochs"]
            self._say()

    def _say(self) -> None:
        value = {
            "since": self._since,
            "host": self._holder["place"][0],
            "place": self._place,
            "epochs": self._epochs,
            "holder": self._holder,
        }
        temporary = self._home / f".{NAME}.{secrets.token_hex(6)}.tmp"
        with contextlib.suppress(OSError):
            self._home.mkdir(exist_ok=True)  # the store's own folder must be there: one that vanished is not made again
            try:
                temporary.write_text(json.dumps(value))
                os.replace(temporary, self._home / NAME)
            finally:
                temporary.unlink(missing_ok=True)


def forget(home: Path) -> None:
    """Nobody trains the run any more; a folder with nothing else in it goes too."""
    with contextlib.suppress(OSError):
        (home / NAME).unlink(missing_ok=True)
        home.rmdir()


def read(home: Path) -> Running | None:
    """What the view says; None where there is none or it cannot be read."""
    try:
        value = json.loads((home / NAME).read_text())
        return Running(
            str(value["since"]),
            str(value["host"]),
            {str(key): str(item) for key, item in value["place"].items()},
            None if value["epochs"] is None else int(value["epochs"]),
            dict(value["holder"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def who_runs(store: Store, run_id: str) -> Running | None:
    """The view of a run that somebody trains now, else None."""
    found = read(store.folder(run_id))
    if found is None:
        return None
    alive = locks.is_alive(found.holder)
    return found if (store.is_held(run_id) if alive is None else alive) else None
