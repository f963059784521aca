"""Files that are whole or not there: written to a temporary name, synced, renamed, and carrying their SHA-256.

What the machine does not give or take (permission, space) is a StoreError; what is damaged is a ValueError.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisybench.errors import StoreError
from noisybench.spec import canonical_json, sha256_of


def write_atomic(path: Path, data: bytes, *, parents: bool = True) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one and nothing between.

    The folder is made, unless ``parents`` is false: then one that vanished is an error.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # with the user's own permissions, which tempfile would narrow
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:  # an interrupt too leaves nothing behind
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            folder = path.parent
            reason = f"{folder} is not a folder" if os.path.lexists(folder) and not folder.is_dir() else error.strerror
            raise StoreError(f"{path}: cannot be written: {reason or error}") from error
        raise


def append_text(path: Path, text: str) -> None:
    """Append to a view or a log, which may lag behind and needs no sync."""
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
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
    try:
        os.replace(path, target)
    except OSError as error:
        raise StoreError(f"{path}: cannot be set aside as {target.name}: {error.strerror or error}") from error
    return target


def read_bytes(path: Path) -> bytes:
    """A file's content; StoreError where the machine does not give it (that is no damage), ValueError where a folder, a
    pipe or the like stands in its place."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a file")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from error


def json_with_hash(value: Mapping[str, Any]) -> bytes:
    """Readable JSON of ``value`` with its own canonical SHA-256 under ``sha256``."""
    plain = json.loads(canonical_json({k: v for k, v in value.items() if k != "sha256"}))
    return (json.dumps({**plain, "sha256": sha256_of(plain)}, indent=1, ensure_ascii=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object whose ``sha256`` matches; ValueError says what is wrong with it otherwise."""
    return parse_json(read_bytes(path))


def parse_json(data: bytes) -> dict[str, Any]:
    """What ``read_json`` gives for a file with this content."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("not readable as JSON") from error
    if not isinstance(value, dict) or "sha256" not in value:
        raise ValueError("not a file of noisybench")
    claimed = value.pop("sha256")
    try:
        whole = claimed == sha256_of(value)
    except (ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
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
    data = read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        claimed = str(arrays.pop("sha256"))
    except Exception as error:  # a flipped bit in a zip comes out as any of a dozen errors of zlib, zipfile and numpy
        raise ValueError("damaged or not a file of noisybench") from error
    if arrays_sha256(arrays) != claimed:
        raise ValueError("damaged (its checksum does not match)")
    return arrays, claimed
