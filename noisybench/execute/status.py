"""Where a study stands, from its files alone: nothing is locked, written or loaded that a running study would notice.

Who trains a run is read from the view that its worker keeps beside it (``running``), and believed only while that
worker lives. What Slurm says of jobs is handed in by those who can ask it.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisybench.errors import InputError, StoreError
from noisybench.execute.running import Running, who_runs
from noisybench.execute.slurm.ledger import FOLDER, Ledger, log_path
from noisybench.locks import MARKER, choose
from noisybench.report.results import teachers
from noisybench.spec import at
from noisybench.store import Store
from noisybench.suite.plan import run_names

FINISHED, DIVERGED, FAILED, BLOCKED, DAMAGED = "finished", "diverged", "failed", "blocked", "damaged"
RUNNING, STOPPED, QUEUED, WAITING = "running", "stopped", "queued", "waiting"
STATES = (FINISHED, DIVERGED, FAILED, BLOCKED, DAMAGED, RUNNING, STOPPED, QUEUED, WAITING)
"""``stopped``: nobody trains it, and it goes on from its checkpoint; ``queued``: it is in a job that Slurm has."""
DONE = (FINISHED, DIVERGED, FAILED, BLOCKED)
TAIL = 16384


@dataclass(frozen=True)
class RunStatus:
    """One run. ``where`` and ``since`` (UTC) of a running one; ``why`` it failed or waits; ``log``: what to read."""

    run_id: str
    name: str
    state: str
    epoch: int | None = None
    epochs: int | None = None
    where: str | None = None
    since: str | None = None
    why: str | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Status:
    """A suite's folder. ``left``: seconds to go, with as many runs at once as now (``running``; with none: one);
    None where there is no pace yet. ``notes``: what else is wrong."""

    folder: Path
    suite: str
    runs: tuple[RunStatus, ...]
    left: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many runs there are in each state."""
        found = Counter(run.state for run in self.runs)
        return {state: found[state] for state in STATES}

    @property
    def complete(self) -> bool:
        """True when nothing is left to do."""
        return all(run.state in DONE for run in self.runs)

    @property
    def exit_code(self) -> int:
        """1 where a run failed, is blocked or has a damaged record; else 0, whether or not the study is complete."""
        return int(any(run.state in (FAILED, BLOCKED, DAMAGED) for run in self.runs))

    def of(self, state: str) -> list[RunStatus]:
        """The runs in a state."""
        return [run for run in self.runs if run.state == state]


@dataclass
class Reader:
    """Reads one folder, again and again: a record that has not changed since is not read anew."""

    folder: Path
    _records: dict[str, tuple[tuple[int, int], dict[str, Any] | None, str | None]] = field(default_factory=dict)

    def has_jobs(self) -> bool:
        """True where jobs were submitted for this store."""
        return (self.folder / FOLDER).is_dir()

    def read(self, jobs: Mapping[str, str] | None = None) -> Status:
        """``jobs``: the state of every job that Slurm has, by name; None where it was not asked or did not answer."""
        store = Store(self.folder, _leases(self.folder))
        plan = store.read_plan()
        if plan is None:
            raise InputError(f"{self.folder} is no results folder of a suite: no plan.json there")
        try:
            cells = list(plan["cells"])
            names, epochs = run_names(cells), _epochs(cells)
            teacher_of = teachers(cells)
            suite = str(plan["suite"])
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{store.plan_path} is damaged: {type(error).__name__}: {error}") from error
        ledger = Ledger(self.folder)
        placed = {run_id: (job, sub.name) for run_id, (job, sub) in ledger.jobs_of().items()}
        runs = {i: self._run(store, i, names[i], epochs.get(i), placed.get(i), jobs) for i in names}
        _block(runs, teacher_of)
        notes = tuple(problem for _, problem in ledger.read() if problem is not None)
        return Status(self.folder, suite, tuple(runs.values()), self._left(runs, store), notes)

    def _run(
        self,
        store: Store,
        run_id: str,
        name: str,
        epochs: int | None,
        placed: tuple[str, str] | None,
        jobs: Mapping[str, str] | None,
    ) -> RunStatus:
        record, problem = self._record(store, run_id)
        if problem is not None:
            return RunStatus(run_id, name, DAMAGED, why=f"record.json: {problem}")
        if record is not None:
            return _settled(store, run_id, name, record)
        home = store.folder(run_id)
        found = who_runs(store, run_id)
        if found is not None:
            return _running(home, run_id, name, epochs, found)
        done = checkpointed(home)
        where = why = None
        saved = any((home / name).exists() for name in ("checkpoint.pt", "checkpoint.previous.pt"))
        state = STOPPED if saved else WAITING
        if placed is not None:
            job, submission = placed
            where = f"slurm job {job}"
            if jobs is None:
                why = f"it was submitted in {where}; Slurm cannot be asked from here"
            elif job in jobs:
                state, why = QUEUED, jobs[job].lower()
            else:
                why = f"{where} is gone; run the same command again to submit it anew"
            log = store.root / log_path(submission, job)
            return RunStatus(run_id, name, state, done, epochs, where, None, why, log if log.exists() else None)
        return RunStatus(run_id, name, state, done, epochs)

    def _record(self, store: Store, run_id: str) -> tuple[dict[str, Any] | None, str | None]:
        path = store.folder(run_id) / "record.json"
        try:
            found = path.stat()
        except OSError:
            return None, None
        key = found.st_size, found.st_mtime_ns
        if run_id not in self._records or self._records[run_id][0] != key:
            try:
                record, problem = store.read_record(run_id), None
            except ValueError as error:
                record, problem = None, str(error)
            self._records[run_id] = key, _needed(record), problem
        return self._records[run_id][1:]

    def _left(self, runs: Mapping[str, RunStatus], store: Store) -> float | None:
        """Epochs to go times seconds an epoch: of settled runs of the same method, else of all, else of running runs
        as their logs tell; over as many runs at once as there are now."""
        paces: dict[str, list[float]] = {}
        for run_id, (_, record, _) in self._records.items():
            if record is not None and record["pace"] is not None and run_id in runs:
                paces.setdefault(_method(runs[run_id].name), []).append(record["pace"])
        everything = [pace for group in paces.values() for pace in group]
        running = [run for run in runs.values() if run.state == RUNNING]
        if not everything:
            everything = [p for p in (_pace(store.folder(run.run_id)) for run in running) if p is not None]
        open_runs = [run for run in runs.values() if run.state not in DONE]
        if not everything or not open_runs:
            return 0.0 if not open_runs else None
        usual = sum(everything) / len(everything)
        seconds = 0.0
        for run in open_runs:
            group = paces.get(_method(run.name))
            pace = sum(group) / len(group) if group else usual
            seconds += pace * max(0, (run.epochs or 0) - (run.epoch or 0))
        return seconds / max(1, len(running))


def find_folders(places: list[Path]) -> list[Path]:
    """Folders of suites: those named, or all in a folder of them."""
    out: list[Path] = []
    for place in places:
        if (place / "plan.json").is_file():
            out.append(place)
            continue
        inside = sorted(path.parent for path in place.glob("*/plan.json")) if place.is_dir() else []
        if not inside:
            what = "no plan.json in it or below it" if place.is_dir() else "no such folder"
            raise InputError(f"{place}: {what}; name the folder of a suite, e.g. runs/quickstart")
        out += inside
    return list(dict.fromkeys(out))


def checkpointed(home: Path) -> int | None:
    """After which epoch a run's newest checkpoint was made, None where that is not known."""
    from noisybench.train.checkpoint import epochs_done

    return epochs_done(home)


def _leases(folder: Path) -> Any:
    return choose(folder / ".locks") if (folder / ".locks" / MARKER).exists() else None


def _epochs(cells: list[Mapping[str, Any]]) -> dict[str, int]:
    return {
        str(run_id): int(at(cell["settings"], "training.epochs")) for cell in cells for run_id in cell["runs"].values()
    }


def _method(name: str) -> str:
    return name.rpartition(", seed ")[0]


def _needed(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What is kept of a record."""
    if record is None:
        return None
    result, provenance = record["result"], record["provenance"]
    seconds, epochs = at(provenance, "seconds.total"), result.get("epochs")
    pace = float(seconds) / int(epochs) if seconds is not None and epochs else None
    place = provenance.get("place") or {}
    keys = {"error": provenance.get("error"), "traceback": provenance.get("traceback") is not None}
    return {"status": result["status"], "epochs": epochs, "pace": pace, "log": place.get("log"), **keys}


def _settled(store: Store, run_id: str, name: str, record: Mapping[str, Any]) -> RunStatus:
    if record["status"] != FAILED:
        return RunStatus(run_id, name, record["status"], record["epochs"], record["epochs"])
    log = store.root / record["log"] if record["log"] else None
    if log is None and record["traceback"]:
        log = store.folder(run_id) / "record.json"
    return RunStatus(run_id, name, FAILED, why=record["error"] or "unknown", log=log)


def _running(home: Path, run_id: str, name: str, epochs: int | None, found: Running) -> RunStatus:
    log = found.place.get("log")
    return RunStatus(
        run_id,
        name,
        RUNNING,
        _last_epoch(home),
        found.epochs or epochs,
        found.where,
        found.since,
        log=home.parent / log if log else None,
    )


def _last_epoch(home: Path) -> int:
    for line in reversed(_tail(home / "epochs.jsonl")):
        try:
            return int(json.loads(line)["epoch"])
        except (ValueError, KeyError, TypeError):
            continue  # the first line of the tail, or one being written
    return 0


def _pace(home: Path) -> float | None:
    """Seconds an epoch of a running run, by the stamps in its log."""
    seen = []
    for line in _tail(home / "run.log"):
        stamp, _, words = line.partition(" ")
        if words.startswith("epoch "):
            try:
                seen.append((datetime.datetime.fromisoformat(stamp), int(words.split()[1].partition("/")[0])))
            except (ValueError, IndexError):
                continue
    if len(seen) < 2 or seen[-1][1] <= seen[0][1]:
        return None
    return (seen[-1][0] - seen[0][0]).total_seconds() / (seen[-1][1] - seen[0][1])


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _block(runs: dict[str, RunStatus], teacher_of: Mapping[str, str]) -> None:
    """A run whose teacher ended without finishing, or is blocked itself, is blocked."""
    for run_id in runs:
        chain = [run_id]
        while chain[-1] in teacher_of and teacher_of[chain[-1]] not in chain:
            chain.append(teacher_of[chain[-1]])
        for student, teacher in zip(chain[-2::-1], chain[:0:-1], strict=True):
            found = runs.get(student)
            if found is None or found.state in (FINISHED, DIVERGED, FAILED, DAMAGED, RUNNING):
                continue
            ended = runs[teacher].state if teacher in runs else ""
            if ended in (DIVERGED, FAILED, BLOCKED):
                words = "is blocked" if ended == BLOCKED else ended
                runs[student] = RunStatus(student, found.name, BLOCKED, why=f"its teacher {teacher} {words}")
