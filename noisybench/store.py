"""Records on disk: ``RUNS/<suite>/<run id>/``. What is half-written is never seen; what is damaged is set aside.

Every file but logs, views and locks is written to a temporary name, synced and renamed, and carries its SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from noisybench.errors import StoreError
from noisybench.spec import RunSpec, canonical_json, sha256_of

SCHEMA = 1
SETTLED = ("finished", "diverged", "failed")


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one and nothing between."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # with the user's own permissions, which tempfile would narrow
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def set_aside(path: Path, suffix: str = "corrupt") -> Path:
    """Rename a file or folder to ``<name>.corrupt`` (numbered if taken); nothing is deleted silently."""
    target, number = path.with_name(f"{path.name}.{suffix}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{suffix}.{number}")
    os.replace(path, target)
    return target


def json_with_hash(value: Mapping[str, Any]) -> bytes:
    """Readable JSON of ``value`` with its own canonical SHA-256 under ``sha256``."""
    plain = json.loads(canonical_json({k: v for k, v in value.items() if k != "sha256"}))
    return (json.dumps({**plain, "sha256": sha256_of(plain)}, indent=1, ensure_ascii=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object whose ``sha256`` matches; ValueError says what is wrong with it otherwise."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError("not readable as JSON") from error
    if not isinstance(value, dict) or "sha256" not in value:
        raise ValueError("not a file of noisybench")
    claimed = value.pop("sha256")
    if claimed != sha256_of(value):
        raise ValueError("damaged (its checksum does not match)")
    return value


def arrays_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and contents, independent of how the zip was written."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.newbyteorder('<').str}|{array.shape}|".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write an npz that carries its content's SHA-256 under ``sha256``; returns that hash."""
    content = arrays_sha256(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**arrays, "sha256": np.array(content)})  # type: ignore[arg-type]  # numpy types one key as a bool
    write_atomic(path, buffer.getvalue())
    return content


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of an npz and their hash; ValueError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        claimed = str(arrays.pop("sha256"))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError("damaged or not a file of noisybench") from error
    if arrays_sha256(arrays) != claimed:
        raise ValueError("damaged (its checksum does not match)")
    return arrays, claimed


class Store:
    """The folder of one suite: ``root/<run id>/record.json`` and what belongs to it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, run_id: str) -> Path:
        """Where a run lives; not made here."""
        return self.root / run_id

    def lock(self, run_id: str) -> FileLock:
        """The operating system's lock on a run; a dead process holds none."""
        return self._lock(run_id)

    def plan_lock(self) -> FileLock:
        """The lock under which the plan is read, checked and written."""
        return self._lock("plan")

    def _lock(self, name: str) -> FileLock:
        folder = self.root / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made: {error.strerror or error}") from error
        return FileLock(folder / f"{name}.lock")

    def write_spec(self, spec: RunSpec) -> None:
        """Write a run's ``spec.json``."""
        write_atomic(self.folder(spec.run_id) / "spec.json", json_with_hash({"run_id": spec.run_id, "spec": spec.data}))

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
