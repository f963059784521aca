"""What runs elsewhere leave in the store, as the events of an executor: ``start``, ``epoch``, ``log``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noisybench.execute import running
from noisybench.execute.work import Event
from noisybench.spec import RunSpec, at
from noisybench.store import Store

TAIL = 8192
OWN_WORDS = ("epoch ", "settled: ")
"""Lines of ``run.log`` that other events tell."""


@dataclass
class Watched:
    """A run that somebody else trains, and how much of its files was seen."""

    spec: RunSpec
    home: Path
    started: bool = False
    epoch: int = 0
    log: int = 0  # bytes of run.log that were seen
    changed: tuple[int, float] = (0, 0.0)  # size and time of epochs.jsonl

    @classmethod
    def of(cls, spec: RunSpec, store: Store) -> Watched:
        """Watch from now on; what its log says already is old."""
        home = store.folder(spec.run_id)
        try:
            seen = (home / "run.log").stat().st_size
        except OSError:
            seen = 0
        return cls(spec, home, log=seen)

    @property
    def settled(self) -> bool:
        """True once there is a record."""
        return (self.home / "record.json").exists()

    def stopped(self) -> bool:
        """Note that nobody trains it at the moment; True where somebody did."""
        was, self.started, self.epoch, self.changed = self.started, False, 0, (0, 0.0)
        return was

    def look(self) -> Iterator[Event]:
        """What happened since the last look."""
        run_id = self.spec.run_id
        if not self.started:
            if not (self.home / running.NAME).exists():
                return
            self.started = True
            yield {"type": "start", "run_id": run_id}
        for text in self._new_words():
            yield {"type": "log", "run_id": run_id, "text": text}
        row = self._new_row()
        if row is not None:
            seen = running.read(self.home)
            epochs = (seen.epochs if seen else None) or at(self.spec.data, "training.epochs")
            yield {"type": "epoch", "run_id": run_id, "epochs": max(int(epochs), self.epoch), **row}

    def _new_words(self) -> list[str]:
        try:
            with (self.home / "run.log").open("rb") as file:
                file.seek(self.log)
                whole, _, _ = file.read(1 << 20).rpartition(b"\n")
        except OSError:
            return []
        self.log += len(whole) + 1 if whole else 0
        lines = (line.partition(" ")[2] for line in whole.decode("utf-8", "replace").splitlines())
        return [line for line in lines if line and not line.startswith(OWN_WORDS)]

    def _new_row(self) -> Event | None:
        path = self.home / "epochs.jsonl"
        try:
            found = path.stat()
            if (found.st_size, found.st_mtime) == self.changed:
                return None
            with path.open("rb") as file:
                file.seek(max(0, found.st_size - TAIL))
                lines = file.read().splitlines(keepends=True)
        except OSError:
            return None
        self.changed = found.st_size, found.st_mtime
        for line in reversed(lines):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("epoch"), int) and row["epoch"] != self.epoch:
                self.epoch = row["epoch"]
                return row
        return None
