"""Results folders of one suite from different places become one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from noisybench.errors import InputError, PlanConflict, StoreError
from noisybench.files import read_bytes, write_atomic
from noisybench.store import Store, damage, set_aside
from noisybench.suite.plan import join_plans
from noisybench.train import checkpoint
from noisybench.train.checkpoint import epochs_done

RANK = {"failed": 1, "diverged": 3, "finished": 3}
"""Of two records of a run, one that failed gives way."""
DAMAGED = 2
"""A run that ended, in the folder that is filled, with damaged files: ``run`` may mend it, a whole one is better."""

NOT_COPIED = ("record.json", "running.json")
"""The record comes last; who trains a run is a matter of the place it was in."""
ASIDE = re.compile(r"\.(corrupt|old|stale)(\.\d+)?$")


@dataclass
class Joined:
    """What was done. ``conflicts``: run id -> the folders whose records differ; the first one's was taken."""

    copied: int = 0
    same: int = 0  # runs whose record was in several folders, word for word
    unfinished: int = 0  # runs copied with a checkpoint, to be gone on with
    conflicts: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was damaged, and what was set aside


@dataclass(frozen=True)
class _Found:
    folder: Path
    record: dict[str, Any] | None  # None: unfinished
    damaged: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """A finished run before a failed one before one with a checkpoint, of these the one that got furthest."""
        if self.record is not None:
            return (DAMAGED if self.damaged else RANK[self.record["result"]["status"]]), 0
        return 0, epochs_done(self.folder) or 0


def join(sources: Sequence[Path], into: Path, *, keep_first: bool = False) -> Joined:
    """Copy every run of ``sources`` into the results folder ``into``, which may be there and goes before them.

    One run with the same ``result_sha256`` in several folders is taken once; a finished one is preferred to a failed
    one, that to one with a checkpoint. Records that differ are a conflict: an InputError names them and nothing is
    written, unless ``keep_first`` (then the folder named first has it). What is damaged is named and passed over; in
    ``into`` it gives way to a run that ended and is whole. Whatever gives way there is set aside and named. The sources
    are not changed; a run that another process holds in ``into`` is a StoreError. May be called again.
    """
    joined = Joined()
    others = [path for path in sources if path.resolve() != into.resolve()]
    plan = _plan([*([into] if (into / "plan.json").exists() else []), *others])
    found: dict[str, list[_Found]] = {}
    if into.is_dir():
        _collect(into, found, joined, keep_damaged=True)
    for folder in others:
        _collect(folder, found, joined)
    chosen = {run_id: _choose(run_id, candidates, joined) for run_id, candidates in found.items()}
    if joined.conflicts and not keep_first:
        raise InputError(_conflict(joined.conflicts))
    store = Store.open(into)
    with store.plan_lock():
        for run_id, source in chosen.items():
            if source.folder.parent != into:
                there = next((item for item in found[run_id] if item.folder.parent == into), None)
                _copy(store, run_id, source, there, joined)
        store.write_plan(plan)
    return joined


def _plan(folders: Sequence[Path]) -> dict[str, Any]:
    plan: dict[str, Any] | None = None
    for folder in folders:
        own = Store(folder).read_plan()
        if own is None:
            raise InputError(
                f"{folder}: not a results folder (it has no plan.json); give folders such as runs/my-study"
            )
        own.pop("sha256", None)
        try:
            plan = own if plan is None else join_plans(plan, own)
        except PlanConflict as error:
            raise InputError(
                f"{folders[0]} and {folder} are not one study: {error}; 'noisybench report' takes several studies"
            ) from None
    if plan is None:
        raise InputError("nothing to join")
    return plan


def _collect(folder: Path, found: dict[str, list[_Found]], joined: Joined, *, keep_damaged: bool = False) -> None:
    """Add a folder's runs to ``found``; those with damaged files only where they are to be kept."""
    store = Store(folder)
    names = ("spec.json", "record.json")  # a run that failed early has no spec
    for home in sorted(path for path in folder.iterdir() if any((path / name).exists() for name in names)):
        try:
            record = store.read_record(home.name)
        except ValueError as error:
            joined.notes.append(f"{home / 'record.json'}: {error}; passed over")
            continue
        wrong = {} if record is None else damage(home, record)
        if record is not None:
            joined.notes += [text if keep_damaged else f"{text}; the run is passed over" for text in wrong.values()]
            if wrong and not keep_damaged:
                continue
        elif not any((home / name).exists() for name in (checkpoint.NAME, checkpoint.PREVIOUS)):
            continue
        found.setdefault(home.name, []).append(_Found(home, record, bool(wrong)))


def _choose(run_id: str, candidates: Sequence[_Found], joined: Joined) -> _Found:
    best = max(candidates, key=lambda item: item.rank)  # the first of equals
    rivals = [item for item in candidates if item.record is not None and item.rank == best.rank and best.record]
    hashes = [item.record["result_sha256"] for item in rivals if item.record is not None]
    if len(set(hashes)) > 1 and best.rank[0] == RANK["finished"]:
        joined.conflicts[run_id] = [str(item.folder.parent) for item in rivals]
    elif len(rivals) > 1 and len(set(hashes)) == 1:
        joined.same += 1
    return best


def _conflict(conflicts: Mapping[str, Sequence[str]]) -> str:
    first = next(iter(conflicts))
    places = " and ".join(conflicts[first])
    many = f"{len(conflicts)} runs" if len(conflicts) > 1 else "1 run"
    return (
        f"{many} ended differently in different folders, the first {first} in {places}; nothing was written: "
        "use --keep-first to take the record of the folder named first"
    )


def _copy(store: Store, run_id: str, source: _Found, there: _Found | None, joined: Joined) -> None:
    """Every file of a run, the record last, so that a copy that is cut off is no settled run. A run that was settled or
    mended in the meantime ``there``, in the folder that is filled, stays as it is."""
    home = store.folder(run_id)
    try:
        with store.lock(run_id).acquire(timeout=0):
            now, problem = store.settled(run_id)
            wrong = {} if now is None else damage(home, now)
            if problem is not None:
                joined.notes.append(problem.removesuffix(", the run is redone"))
            if now is not None and _is_new(now, there, damaged=bool(wrong)):
                joined.notes.append(f"{home}: settled while the folders were read; left as it is")
                return
            for path in wrong:
                if path.exists():
                    joined.notes.append(f"{path}: set aside as {set_aside(path).name}")
            for path in (home / "record.json", home / checkpoint.NAME, home / checkpoint.PREVIOUS):
                if path.exists():
                    kept = set_aside(path, "old").name
                    joined.notes += [f"{path}: kept as {kept}"] if path.name == "record.json" else []
            names = sorted(path.name for path in source.folder.iterdir() if path.is_file())
            names = [name for name in names if not name.startswith(".") and name not in NOT_COPIED]
            names = [name for name in names if not ASIDE.search(name)]
            for name in [*names, *(["record.json"] if source.record is not None else [])]:
                if name.endswith((".log", ".jsonl")):
                    home.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source.folder / name, home / name)
                else:
                    write_atomic(home / name, read_bytes(source.folder / name))
    except Timeout:
        raise StoreError(f"{home}: another process works on this run; end it and join again") from None
    except OSError as error:
        raise StoreError(f"{home}: cannot be written: {error.strerror or error}") from error
    joined.copied += 1
    joined.unfinished += source.record is None


def _is_new(now: Mapping[str, Any], there: _Found | None, *, damaged: bool) -> bool:
    """Whether a run's record, or what was damaged beside it, is no longer what was found ``there``."""
    if there is None or there.record is None:
        return True
    return bool(now["result_sha256"] != there.record["result_sha256"] or (there.damaged and not damaged))
