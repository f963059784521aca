"""What the report reads: a results folder's plan and the records of the runs in it.

A record counts only if its ``result_sha256`` is the SHA-256 of its result's canonical JSON and it says it is the run
the plan asks for; any other is named as damaged and left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisybench.errors import InputError, StoreError
from noisybench.files import parse_json, read_bytes
from noisybench.report.mixing import left_out
from noisybench.spec import at, sha256_of

RULES = {
    "last": "last epoch",
    "last10": "mean of the last 10 epochs",
    "validation": "epoch chosen on the noisy hold-out",
    "best": "best epoch on the test set (an oracle)",
}
"""Selection rules and how a title says them."""
STATUSES = ("finished", "diverged", "failed", "missing", "blocked", "damaged", "left out")


@dataclass(frozen=True)
class Run:
    """One planned run and what became of it. ``result`` and ``provenance`` are the record's, None without a usable
    record; ``home`` is the folder it lies in."""

    run_id: str
    seed: str
    status: str
    result: Mapping[str, Any] | None = None
    precision: str | None = None
    home: Path | None = None
    provenance: Mapping[str, Any] | None = None

    def number(self, path: str) -> float | None:
        """A finite number of the result at a dotted path, else None."""
        return finite(at(self.result or {}, path))


@dataclass(frozen=True)
class Cell:
    """One place of the plan: data set, noise, model, method variant, and its runs by seed."""

    dataset: str
    noise: str
    model: str
    method: str
    variant: str
    choose: str | None
    published: str | None
    marks: tuple[str, ...]
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]
    suite: str | None = None  # where several are merged, the one it is of
    again: tuple[str, ...] = ()  # and how that is run
    _values: dict[str, dict[str, float]] = field(init=False, default_factory=dict, compare=False, repr=False)

    @property
    def finished(self) -> tuple[Run, ...]:
        """Its finished runs."""
        return tuple(run for run in self.runs if run.status == "finished")

    def count(self, status: str) -> int:
        """How many of its runs have this status."""
        return sum(run.status == status for run in self.runs)

    @property
    def images(self) -> float | None:
        """How many test images its accuracies rest on, the fewest where runs differ; None where no run says."""
        return min(self.values("data.test_size").values(), default=None)

    def values(self, path: str) -> dict[str, float]:
        """Seed -> number at ``path`` of the results of the finished runs that have one."""
        if path not in self._values:
            pairs = ((run.seed, run.number(path)) for run in self.finished)
            self._values[path] = {seed: value for seed, value in pairs if value is not None}
        return dict(self._values[path])


@dataclass(frozen=True)
class Study:
    """A plan with its records. ``damaged``, ``left_out`` (it must not be mixed with the others): (run id, why);
    ``unplanned``: folders with a record the plan lacks."""

    suite: str
    version: int
    description: str
    recipe: str
    smoke: bool
    synthetic: bool
    accuracy: str
    compare: tuple[str, ...]
    baseline: str | None
    seeds: tuple[str, ...]
    cells: tuple[Cell, ...]
    damaged: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    unplanned: tuple[str, ...]
    again: tuple[str, ...] = ()  # arguments of `noisybench run` that make its plan, where the plan tells
    parts: tuple[str, ...] = ()  # where several are merged, their names and versions
    notes: tuple[str, ...] = ()  # what else a reader must know, in sentences
    absent: tuple[str, ...] = ()  # where several are merged, which of them the tables show nothing of, and why
    known: dict[str, Any] = field(init=False, default_factory=dict, compare=False, repr=False)  # grids by rule

    @property
    def named(self) -> str:
        """``example (version 1)``, or all that are merged."""
        return " and ".join(self.parts) or f"{self.suite} (version {self.version})"

    @property
    def counts(self) -> dict[str, int]:
        """Planned runs by status; a run that two cells share counts once."""
        status = {run.run_id: run.status for cell in self.cells for run in cell.runs}
        found = Counter(status.values())
        return {"planned": len(status), **{name: found[name] for name in STATUSES}}


def finite(value: Any) -> float | None:
    """A finite number as float; None for anything else (records write the others as ``nan``, ``inf``, ``-inf``)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def read_study(run_dir: Path) -> Study:
    """Read ``plan.json`` and the records of its runs. InputError without a plan, StoreError when it is damaged."""
    plan = _read_plan(run_dir)
    try:
        return _study(run_dir, plan)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{run_dir / 'plan.json'} is damaged: {what}") from error


def _read_plan(run_dir: Path) -> Mapping[str, Any]:
    path = run_dir / "plan.json"
    if not path.is_file():
        inside = sorted(p.parent.name for p in run_dir.glob("*/plan.json")) if run_dir.is_dir() else []
        hint = f"; there are plans in: {', '.join(inside)}" if inside else ""
        what = "no plan.json there" if run_dir.is_dir() else "no such folder"
        raise InputError(f"{run_dir} is no results folder of a suite: {what}{hint}")
    try:
        data = read_bytes(path)
        plan = json.loads(data)
        if isinstance(plan, dict) and "sha256" in plan:
            plan = parse_json(data)
    except (ValueError, RecursionError, OSError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if not isinstance(plan, dict):
        raise StoreError(f"{path} is damaged: not a mapping")
    if plan.get("schema") != 1:
        raise StoreError(f"{path} has schema {plan.get('schema')!r}; this version reads schema 1")
    return plan


def _study(run_dir: Path, plan: Mapping[str, Any]) -> Study:
    planned = {run_id: seed for cell in plan["cells"] for seed, run_id in cell["runs"].items()}
    for run_id in planned:
        if not isinstance(run_id, str) or not re.fullmatch(r"[\w][\w.-]*", run_id):
            raise ValueError(f"'{str(run_id)[:60]}' is no run id")
    records: dict[str, Mapping[str, Any]] = {}
    damaged: dict[str, str] = {}
    for run_id, seed in sorted(planned.items()):
        path = run_dir / run_id / "record.json"
        if path.is_file():
            record, why = _read_record(path, run_id, seed)
            if record is None:
                damaged[run_id] = why
            else:
                records[run_id] = record
    unmixable = left_out(plan["cells"], records)
    records = {run_id: record for run_id, record in records.items() if run_id not in unmixable}
    known = planned.keys() | set(teachers(plan["cells"]).values())
    unplanned = tuple(sorted(p.parent.name for p in run_dir.glob("*/record.json") if p.parent.name not in known))
    status = {run_id: str(record["result"]["status"]) for run_id, record in records.items()}
    status.update(dict.fromkeys(damaged, "damaged"))
    status.update(dict.fromkeys(unmixable, "left out"))
    _mark_blocked(plan["cells"], status)
    return Study(
        suite=str(plan["suite"]),
        version=int(plan["version"]),
        description=str(plan.get("description") or ""),
        recipe=str(plan["recipe"]),
        smoke=bool(plan["smoke"]),
        synthetic=bool(plan["synthetic"]),
        accuracy=str(plan["report"]["accuracy"]),
        compare=tuple(plan["report"].get("compare") or ()),
        baseline=plan["report"].get("baseline"),
        seeds=tuple(str(seed) for seed in plan["seeds"]),
        cells=tuple(_cell(cell, records, status, run_dir) for cell in plan["cells"]),
        damaged=tuple(sorted(damaged.items())),
        left_out=tuple(sorted(unmixable.items())),
        unplanned=unplanned,
        again=tuple(str(part) for part in plan.get("again") or ()),
    )


def _cell(
    cell: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], status: Mapping[str, str], run_dir: Path
) -> Cell:
    runs = []
    for seed, run_id in sorted(cell["runs"].items(), key=lambda item: seed_order(item[0])):
        record = records.get(run_id)
        provenance = None if record is None else record.get("provenance") or {}
        runs.append(
            Run(
                run_id,
                str(seed),
                status.get(run_id, "missing"),
                None if record is None else record["result"],
                None if provenance is None else provenance.get("precision"),
                run_dir / run_id,
                provenance,
            )
        )
    return Cell(
        dataset=str(cell["dataset"]),
        noise=str(cell["noise"]),
        model=str(cell["model"]),
        method=str(cell["method"]),
        variant=str(cell["variant"]),
        choose=cell.get("choose"),
        published=cell.get("published"),
        marks=tuple(cell.get("marks") or ()),
        settings=cell["settings"],
        runs=tuple(runs),
    )


def seed_order(seed: str) -> tuple[int, str]:
    """Sorts seeds, which are text in a plan, as numbers."""
    return (int(seed), seed) if seed.lstrip("-").isdigit() else (0, seed)


def _read_record(path: Path, run_id: str, seed: str) -> tuple[Mapping[str, Any] | None, str]:
    """The record, or None and why it cannot be used."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None, "not readable as JSON"
    result = record.get("result") if isinstance(record, dict) else None
    if not isinstance(result, dict):
        return None, "no result in it"
    if record.get("schema") != 1:
        return None, f"schema {record.get('schema')!r}, this version reads 1"
    if record.get("run_id") != run_id or str(at(result, "spec.seed")) != seed:
        return None, "it is the record of another run"
    if not _is_of(result, record.get("result_sha256")):
        return None, "result_sha256 does not match its result"
    if result.get("status") not in ("finished", "diverged", "failed"):
        return None, f"unknown status {result.get('status')!r}"
    if result["status"] == "finished" and finite(at(result, "test_accuracy.last")) is None:
        return None, "finished without a test accuracy"
    return record, ""


def _is_of(result: Mapping[str, Any], sha256: Any) -> bool:
    """``sha256`` is that of the result's canonical JSON. A result as we write it needs no conversion, which is most of
    the time that reading thousands of records takes."""
    try:
        text = json.dumps(result, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        usual = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return bool(usual == sha256 or sha256_of(result) == sha256)
    except (ValueError, TypeError, RecursionError):
        return False


def _mark_blocked(cells: Sequence[Mapping[str, Any]], status: dict[str, str]) -> None:
    """A run without a record whose teacher ended without finishing, or is blocked itself, is blocked."""
    known = teachers(cells)
    changed = True
    while changed:
        changed = False
        for run_id, teacher in known.items():
            if run_id not in status and status.get(teacher) in ("diverged", "failed", "blocked"):
                status[run_id] = "blocked"
                changed = True


def teachers(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Run id -> its teacher's run id. ``relabel`` is a run id, a mapping from seeds to run ids, or a variant's name."""
    named = {
        (cell["dataset"], cell["noise"], cell["model"], cell["variant"], seed): run_id
        for cell in cells
        for seed, run_id in cell["runs"].items()
    }
    siblings = {run_id: cell["runs"] for cell in cells for run_id in cell["runs"].values()}
    out: dict[str, str] = {}
    for cell in cells:
        relabel = at(cell["settings"], "method.relabel")
        if relabel is None:
            continue
        for seed, run_id in cell["runs"].items():
            if isinstance(relabel, Mapping):
                teacher = relabel.get(seed)
            elif relabel in siblings:  # the id of one seed's teacher: this seed's is its sibling
                teacher = siblings[relabel].get(seed)
            else:
                teacher = named.get((cell["dataset"], cell["noise"], cell["model"], relabel, seed))
            if teacher is not None:
                out[run_id] = str(teacher)
    return out
