"""Checkpoints: one self-checking file and the one before it.

A file is a line ``noisybench checkpoint 1 <sha256>`` followed by ``torch.save`` bytes with that hash. It is written to
a temporary name, synced and renamed, so a reader sees a whole file or none. Behind the hash may stand how many epochs
are done, for those who only want to know that.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from noisybench.errors import InputError, StoreError
from noisybench.store import read_bytes, set_aside, write_atomic
from noisybench.train.machine import out_of_memory

NAME, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
T = TypeVar("T")
_MAGIC = b"noisybench checkpoint 1 "


def save(folder: Path, state: dict[str, Any], *, check: bool = False) -> None:
    """Write ``state`` (tensors and plain values) as the newest checkpoint; the one before it is kept.

    With ``check``, InputError where the state holds something that would not be read back.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    body = buffer.getvalue()
    if check:
        try:
            torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            what = str(error).rpartition("WeightsUnpickler error: ")[2].partition("\n")[0]
            raise InputError(
                f"the method's state_dict may hold tensors and plain values only, or it could not be resumed ({what})"
            ) from error
    rows = state.get("progress", {}).get("rows", ())
    head = f"{hashlib.sha256(body).hexdigest()} {len(rows)}\n"
    _put(folder, _MAGIC + head.encode() + body)


def keep(folder: Path, data: bytes) -> None:
    """Write the bytes of a checkpoint file that came from elsewhere as the newest; ValueError unless they are whole."""
    _body(data)
    _put(folder, data)


def newest(folder: Path) -> tuple[bytes | None, list[str]]:
    """The bytes of the newest checkpoint file that is whole, or None; and a line for each damaged one, set aside."""
    return _first_whole(folder, lambda data: _body(data) and data)


def _put(folder: Path, data: bytes) -> None:
    newest = folder / NAME
    try:
        if newest.exists():
            os.replace(newest, folder / PREVIOUS)
    except OSError as error:
        raise StoreError(f"{newest}: cannot be kept as {PREVIOUS}: {error.strerror or error}") from error
    write_atomic(newest, data, parents=False)


def epochs_done(folder: Path) -> int | None:
    """How many epochs the newest checkpoint holds, as it says itself; None where there is none or it does not say."""
    for name in (NAME, PREVIOUS):
        with contextlib.suppress(OSError, ValueError):
            with (folder / name).open("rb") as file:
                head = file.readline(200)
            if head.startswith(_MAGIC):
                return int(head[len(_MAGIC) :].split()[1]) if len(head.split()) > 4 else None
    return None


def load(folder: Path, *, device: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that is whole, or None; and one line for each damaged file, which is set aside.

    On a GPU what was saved from one goes there and what a method keeps in the computer's own memory stays there; all
    of it goes there where it was saved on a CPU. Whatever the GPU raises is no damage.
    """
    found, problems = _first_whole(folder, _state)
    if found is None:
        return None, problems
    state, body = found
    if torch.device(device).type == "cuda":
        everything = not str(state.get("numerics", {}).get("device")).startswith("cuda")
        state = torch.load(io.BytesIO(body), map_location=_placing(device, everything), weights_only=True)
    return state, problems


def _placing(device: str, everything: bool) -> Callable[[Any, str], Any]:
    """Where torch puts a storage, by where it was saved."""
    return lambda storage, place: storage.to(device=device) if everything or place.startswith("cuda") else storage


def _first_whole(folder: Path, read: Callable[[bytes], T]) -> tuple[T | None, list[str]]:
    problems: list[str] = []
    for name in (NAME, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return read(read_bytes(path)), problems
        except ValueError as damage:
            kept = set_aside(path)
            problems.append(f"{path}: {damage}; set aside as {kept.name}")
    return None, problems


class _Damaged(ValueError):
    pass


def _body(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise _Damaged("not a checkpoint of this version")
    if hashlib.sha256(body).hexdigest().encode() != head[len(_MAGIC) :].partition(b" ")[0]:
        raise _Damaged("damaged (its checksum does not match)")
    return body


def _state(data: bytes) -> tuple[dict[str, Any], bytes]:
    body = _body(data)
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # a whole file that torch cannot read: another torch version wrote it
        if out_of_memory(error):
            raise
        raise _Damaged(f"cannot be read ({str(error).partition(chr(10))[0]})") from error
    if not isinstance(state, dict):
        raise _Damaged("does not hold a checkpoint")
    return state, body


def remove(folder: Path) -> None:
    """Delete both checkpoints of a settled run; where that fails they only take up room."""
    for name in (NAME, PREVIOUS):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
