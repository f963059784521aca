"""A run's files on their way between two machines: bytes under plain names, each with its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from noisybench.execute.running import NAME as RUNNING
from noisybench.files import parse_json, read_bytes, write_atomic
from noisybench.store import plain_name
from noisybench.train import checkpoint, origin

Packed = Mapping[str, tuple[str, np.ndarray]]
"""File name -> SHA-256 and bytes (uint8, so that they travel without a copy)."""

RECORD = "record.json"
_STAYS = {"run.log", RUNNING, origin.FILE, checkpoint.NAME, checkpoint.PREVIOUS}
"""What is no result: views, and what only matters until there is a record."""


def pack(home: Path, names: Iterable[str]) -> Packed:
    """Those of the named files that are there."""
    return {name: sealed(read_bytes(home / name)) for name in names if (home / name).is_file()}


def pack_results(home: Path) -> Packed:
    """Everything that a settled run leaves, the record included."""
    names = (path.name for path in home.iterdir() if path.is_file())
    return pack(home, sorted(name for name in names if plain_name(name) and not _stays(name)))


def sealed(data: bytes) -> tuple[str, np.ndarray]:
    """Bytes as they travel."""
    return hashlib.sha256(data).hexdigest(), np.frombuffer(data, np.uint8)


def opened(packed: Packed) -> dict[str, bytes]:
    """The files' bytes; ValueError unless every name is plain and every checksum holds."""
    found = {}
    for name, (claimed, content) in packed.items():
        if not plain_name(name):
            raise ValueError(f"'{name[:60]}' is no name of a file")
        data = content.tobytes()
        if hashlib.sha256(data).hexdigest() != claimed:
            raise ValueError(f"{name} was damaged on its way (its checksum does not match)")
        found[name] = data
    return found


def unpack(packed: Packed, home: Path) -> None:
    """Write the files into ``home``, the record last; ValueError, before anything is written, where one is damaged."""
    files = opened(packed)
    for name in sorted(files, key=lambda name: name == RECORD):
        write_atomic(home / name, files[name])


def record_in(files: Mapping[str, bytes]) -> dict[str, object]:
    """The record among a run's files; ValueError where it is missing or damaged."""
    if RECORD not in files:
        raise ValueError(f"{RECORD} is missing")
    return parse_json(files[RECORD])


def _stays(name: str) -> bool:
    return name in _STAYS or name.startswith("checkpoint.")
