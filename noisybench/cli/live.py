"""Progress: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noisybench.execute.work import Event

PLAIN_EVERY = 15.0
"""Seconds between two plain lines about the whole study, at first; later a twentieth of the time so far."""


def duration(seconds: float) -> str:
    """``1 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


@dataclass
class Progress:
    """Listens to events and shows them. Use as a context manager around the training."""

    total: int
    settled: int
    names: Mapping[str, str]  # run id -> what a user calls it
    console: Console = field(default_factory=Console)
    counts: dict[str, int] = field(default_factory=lambda: {"finished": 0, "diverged": 0, "failed": 0, "blocked": 0})
    running: dict[str, Event] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*details)

    def __call__(self, event: Event) -> None:
        """Take in one event of an executor."""
        run_id, kind = event["run_id"], event["type"]
        if kind == "start":
            self.running[run_id] = {}
        elif kind == "epoch":
            self.running[run_id] = event
        elif kind == "log":
            self._say(f"{self.names.get(run_id, run_id)}: {event['text']}")
        else:
            self.running.pop(run_id, None)
            self._ended(event)
        if self._live is not None:
            self._live.update(self._table())
        elif time.monotonic() - self._shown > max(PLAIN_EVERY, self.elapsed / 20):
            self._shown = time.monotonic()
            self._say(self._summary())

    def _ended(self, event: Event) -> None:
        name = self.names.get(event["run_id"], event["run_id"])
        if event["type"] == "blocked":
            self.counts["blocked"] += 1
            self._say(f"blocked: {name}: {event['text']}")
        elif event["type"] == "settled":
            self.counts[event["status"]] += 1
            if event["status"] == "failed":
                self._say(f"failed: {name}: {event['error']}")
            elif event["status"] == "diverged":
                self._say(f"diverged: {name}: the loss is no longer finite")

    @property
    def done(self) -> int:
        """Runs that need no more work."""
        return self.settled + sum(self.counts.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def time_left(self) -> float | None:
        """Seconds to go, from the pace so far, epochs in progress included; None before there is a pace."""
        share = sum(event["epoch"] / event["epochs"] for event in self.running.values() if event)
        ended = sum(self.counts.values()) + share
        if ended < 0.5:
            return None
        return float(self.elapsed / ended * max(0.0, self.total - self.settled - ended))

    def _summary(self) -> str:
        parts = [f"{self.done}/{self.total} runs done"]
        parts += [f"{self.counts[name]} {name}" for name in ("diverged", "failed", "blocked") if self.counts[name]]
        parts += [f"{len(self.running)} running"]
        left = self.time_left()
        parts += [f"about {duration(left)} left"] if left is not None and self.done < self.total else []
        return ", ".join(parts)

    def _say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("running", "epoch", "test accuracy", "loss"):
            table.add_column(heading, justify="left" if heading == "running" else "right")
        for run_id, event in sorted(self.running.items()):
            cells = ["starting", "", ""]
            if event:
                cells = [
                    f"{event['epoch']}/{event['epochs']}",
                    f"{event['test_accuracy']:.1f} %",
                    f"{event['train_loss']:.3f}",
                ]
            table.add_row(Text(self.names.get(run_id, run_id)), *cells)
        return Group(table, Text(self._summary(), style="bold"))
