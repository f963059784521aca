"""Records on disk: ``RUNS/<suite>/<run id>/``. What is half-written is never seen; what is damaged is set aside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from noisybench import locks
from noisybench.errors import StoreError
from noisybench.files import (
    append_text,
    arrays_sha256,
    json_with_hash,
    read_arrays,
    read_bytes,
    read_json,
    set_aside,
    write_arrays,
    write_atomic,
)
from noisybench.spec import RunSpec, canonical_json, sha256_of

__all__ = [
    "SCHEMA",
    "SETTLED",
    "Store",
    "append_text",
    "arrays_sha256",
    "damage",
    "json_with_hash",
    "read_arrays",
    "read_bytes",
    "read_json",
    "set_aside",
    "write_arrays",
    "write_atomic",
]

SCHEMA = 1
SETTLED = ("finished", "diverged", "failed")
OLD_SECONDS = 600.0
"""A half-written file that nobody has touched for so long is nobody's."""


def plain_name(name: str) -> bool:
    """True for a name that stays in the folder it is put in, on every system."""
    return bool(name) and name.isprintable() and not name.startswith(".") and not set(name) & set("/\\:")


def damage(home: Path, record: Mapping[str, Any]) -> dict[Path, str]:
    """Files of a settled run that are not what its record says -> what is wrong. Weights may be missing, by choice."""
    if record["result"]["status"] == "failed":
        return {}
    files = record["provenance"].get("files") or {}
    expected = {name: content for name, content in files.items() if name.endswith(".npz") and plain_name(name)}
    expected["curves.npz"] = record["result"].get("curves_sha256")
    found: dict[Path, str] = {}
    for path, claimed in {home / name: claimed for name, claimed in expected.items() if claimed}.items():
        try:
            if not path.exists():
                found[path] = f"{path}: missing"
            elif read_arrays(path)[1] != claimed:
                found[path] = f"{path}: not the file its record names"
        except ValueError as error:
            found[path] = f"{path}: {error}"
    weights = home / "model.pt"
    if "model.pt" in files and weights.exists():
        try:
            if hashlib.sha256(read_bytes(weights)).hexdigest() != files["model.pt"]:
                found[weights] = f"{weights}: damaged (its checksum does not match)"
        except ValueError as error:
            found[weights] = f"{weights}: {error}"
    return found


class Store:
    """The folder of one suite: ``root/<run id>/record.json`` and what belongs to it."""

    def __init__(self, root: str | Path, leases: locks.LeaseTimes | None = None) -> None:
        self.root, self.leases = Path(root), leases
        self._held: dict[str, locks.Lease] = {}

    @classmethod
    def open(cls, root: str | Path) -> Store:
        """The store in ``root``, which is made, locked by what works there."""
        store = cls(root)
        return cls(root, locks.choose(store._lock_folder()))

    def folder(self, run_id: str) -> Path:
        """Where a run lives; not made here. StoreError for an id that is no plain name and would lead elsewhere."""
        if not plain_name(run_id):
            raise StoreError(f"{self.root}: '{run_id[:60]}' is no run id: a run's folder lies in the store itself")
        return self.root / run_id

    def require(self) -> None:
        """StoreError where the store's folder vanished; nobody makes it again under a run that is in progress."""
        if not self.root.is_dir():
            raise StoreError(f"{self.root}: the folder of results vanished")

    def sweep(self, run_id: str) -> None:
        """Remove what a killed writer left of files it had not finished. The caller holds the run's lock."""
        for path in self.folder(run_id).glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def _sweep_old(self) -> None:
        """Remove what killed writers of plan, report and leases left; what is younger may still be written."""
        for path in [*self.root.glob(".*.tmp"), *self.root.glob(".locks/.*.tmp")]:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > OLD_SECONDS:
                    path.unlink()

    # -- locks ------------------------------------------------------------------------------------------------------

    def lock(self, run_id: str) -> FileLock | locks.Lease:
        """The lock on a run; a dead process holds none."""
        return self._lock(run_id)

    def plan_lock(self) -> FileLock | locks.Lease:
        """The lock under which the plan is read, checked and written."""
        return self._lock("plan")

    def is_held(self, run_id: str) -> bool:
        """Whether somebody holds a run's lock; for those who only look (see ``locks.is_held``)."""
        name = f"{run_id}.lock" if self.leases is None else f"{run_id}.lease"
        return locks.is_held(self.root / ".locks" / name, self.leases)

    def jobs_lock(self) -> FileLock | locks.Lease:
        """The lock under which jobs are submitted and written down."""
        return self._lock("jobs")

    def check(self, run_id: str) -> None:
        """To be called before a run's files are written: LeaseLost where another process has taken the run over."""
        if run_id in self._held:
            self._held[run_id].check()

    def _lock(self, name: str) -> FileLock | locks.Lease:
        folder = self._lock_folder()
        if self.leases is None:
            return FileLock(folder / f"{name}.lock")
        self._held[name] = locks.Lease(folder / f"{name}.lease", self.leases)
        return self._held[name]

    def _lock_folder(self) -> Path:
        folder = self.root / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made: {error.strerror or error}") from error
        return folder

    # -- spec -------------------------------------------------------------------------------------------------------

    def write_spec(self, spec: RunSpec) -> None:
        """Write a run's ``spec.json``."""
        write_atomic(self.folder(spec.run_id) / "spec.json", json_with_hash({"run_id": spec.run_id, "spec": spec.data}))

    def mend_spec(self, spec: RunSpec) -> str | None:
        """Write ``spec.json`` again where it is missing or damaged; returns what was found, if it was damaged."""
        path = self.folder(spec.run_id) / "spec.json"
        problem = None
        if path.exists():
            try:
                if read_json(path) == json.loads(canonical_json({"run_id": spec.run_id, "spec": spec.data})):
                    return None
                problem = "it describes another run"
            except ValueError as error:
                problem = str(error)
            problem = f"{path}: {problem}; set aside as {set_aside(path).name} and written again"
        self.write_spec(spec)
        return problem

    # -- plan -------------------------------------------------------------------------------------------------------

    @property
    def plan_path(self) -> Path:
        """``plan.json``."""
        return self.root / "plan.json"

    def read_plan(self) -> dict[str, Any] | None:
        """The stored plan, or None where there is none; StoreError names a damaged one and the remedy."""
        if not self.plan_path.exists():
            return None
        try:
            return read_json(self.plan_path)
        except ValueError as error:
            raise StoreError(
                f"{self.plan_path}: {error}; move it away and run the suite again (records are kept)"
            ) from error

    def sound_plan(self, *, change: bool) -> tuple[dict[str, Any] | None, str | None]:
        """The stored plan, or None; a damaged one is set aside (with ``change``) and described in the second value.

        Nothing is lost with it: a plan is made from the suite, and records are found by what they say themselves.
        """
        if change:
            self._sweep_old()
        if not self.plan_path.exists():
            return None, None
        try:
            return read_json(self.plan_path), None
        except ValueError as error:
            kept = f"set aside as {set_aside(self.plan_path).name}, " if change else ""
            return None, f"{self.plan_path}: {error}; {kept}a new one is made from the suite"

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write ``plan.json``."""
        write_atomic(self.plan_path, json_with_hash(plan))

    # -- records ----------------------------------------------------------------------------------------------------

    def read_record(self, run_id: str) -> dict[str, Any] | None:
        """A complete record, or None. ValueError where there is one that is damaged."""
        path = self.folder(run_id) / "record.json"
        if not path.exists():
            return None
        record = read_json(path)
        if record.get("schema") != SCHEMA:
            raise ValueError(f"written by another version (schema {record.get('schema')})")
        if record.get("run_id") != run_id or record.get("result_sha256") != sha256_of(record.get("result")):
            raise ValueError("damaged (it does not describe this run)")
        return record

    def settled(self, run_id: str) -> tuple[dict[str, Any] | None, str | None]:
        """The record of a settled run, or None; a damaged one is set aside and described in the second value."""
        try:
            return self.read_record(run_id), None
        except ValueError as error:
            path = self.folder(run_id) / "record.json"
            kept = set_aside(path)
            return None, f"{path}: {error}; set aside as {kept.name}, the run is redone"

    def write_record(self, run_id: str, result: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
        """The last file of a run: with it, the run is settled."""
        record = {
            "schema": SCHEMA,
            "run_id": run_id,
            "result": result,
            "provenance": provenance,
            "result_sha256": sha256_of(result),
        }
        write_atomic(self.folder(run_id) / "record.json", json_with_hash(record))
        return record

    def records(self) -> Iterator[tuple[str, dict[str, Any] | None, str | None]]:
        """``(run id, record, problem)`` of every run folder, by name; a damaged record is None with a reason."""
        if not self.root.is_dir():
            return
        for folder in sorted(self.root.iterdir()):
            if not (folder / "record.json").is_file():
                continue
            try:
                yield folder.name, self.read_record(folder.name), None
            except ValueError as error:
                yield folder.name, None, str(error)

    def predictions(self, run_id: str) -> tuple[np.ndarray, str] | None:
        """Final training-set classes int64 ``[N]`` of a run and their file's hash, or None where missing or damaged."""
        path = self.folder(run_id) / "predictions.npz"
        if not path.exists():
            return None
        try:
            arrays, content = read_arrays(path)
            return arrays["train"].astype(np.int64), content
        except (ValueError, KeyError):
            return None
