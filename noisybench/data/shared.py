"""One copy of decoded data sets for all processes of a command, in a file without a name.

The parent writes the arrays once into a temporary file that no folder lists, and hands its descriptor to the processes
it starts. They map it: pages are read once into the system's cache and belong to all of them, and the file is gone with
the last process, however that one ends. The mapping is copy-on-write, so arrays behave as if they were the process's
own (torch takes them without a copy or a warning) and nothing that one process writes reaches another.
"""

from __future__ import annotations

import dataclasses
import mmap
import multiprocessing.context
import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

import numpy as np

from noisybench.data.dataset import Dataset
from noisybench.errors import DataError

ARRAYS = tuple(
    field.name for field in dataclasses.fields(Dataset) if field.type == "np.ndarray"
)  # the names of a data set's arrays
ALIGNMENT = 4096
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Place:
    """Where an array lies in the file."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """A data set without its arrays: their places, its other fields, and what was computed from all its bytes."""

    places: dict[str, Place]
    fields: dict[str, Any]
    computed: dict[str, Any]


class SharedData:
    """Data sets by key, mapped from one file. Made by ``share``; pickled for a process that is being started it takes
    the file along, pickled for anything else it arrives empty and whoever asks it loads for himself."""

    def __init__(self, descriptor: int, size: int, token: bytes, entries: dict[str, Entry]) -> None:
        self._descriptor, self._size, self._token, self._entries = descriptor, size, token, entries
        self._mapping = self._map()
        self._made: dict[str, Dataset] = {}

    def get(self, key: str) -> Dataset | None:
        """The data set under ``key``, its arrays in shared pages; None where it is not shared."""
        if key not in self._made and key in self._entries:
            entry = self._entries[key]
            arrays = {name: self._array(place) for name, place in entry.places.items()}
            self._made[key] = assemble(arrays, entry.fields, entry.computed)
        return self._made.get(key)

    def close(self) -> None:
        """Give the descriptor back. Arrays that are still used keep their pages."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._entries, self._made, self._mapping = -1, {}, {}, None

    def _array(self, place: Place) -> np.ndarray:
        assert self._mapping is not None
        count = int(np.prod(place.shape, dtype=np.int64))
        array: np.ndarray = np.frombuffer(self._mapping, place.dtype, count, place.offset).reshape(place.shape)
        return array

    def _map(self) -> mmap.mmap | None:
        if not self._entries:
            return None
        whole = os.fstat(self._descriptor).st_size == self._size  # a shorter file would end the process at a page of it
        mapping = mmap.mmap(self._descriptor, self._size, access=mmap.ACCESS_COPY) if whole else None
        if mapping is None or mapping[:TOKEN_BYTES] != self._token:
            raise DataError("the data shared between processes is not what was written; run the same command again")
        return mapping

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._entries or multiprocessing.context.get_spawning_popen() is None:
            return SharedData, (-1, 0, b"", {})
        return _received, (reduction.DupFd(self._descriptor), self._size, self._token, self._entries)


def _received(handle: Any, size: int, token: bytes, entries: dict[str, Entry]) -> SharedData:
    return SharedData(handle.detach(), size, token, entries)


def share(datasets: Iterable[tuple[str, Dataset]]) -> SharedData | None:
    """Write data sets into a file of their own and map it. They are taken one at a time, so that an iterator need not
    hold them all. None where the system offers no such file, or no room for it."""
    if not hasattr(reduction, "DupFd"):
        return None
    token = secrets.token_bytes(TOKEN_BYTES)
    entries: dict[str, Entry] = {}
    try:
        with tempfile.TemporaryFile(prefix="noisybench-") as file:
            file.write(token)
            for key, dataset in datasets:
                entries[key] = _write(file, dataset)
            file.flush()
            return SharedData(os.dup(file.fileno()), file.tell(), token, entries) if entries else None
    except OSError:
        return None


def _write(file: Any, dataset: Dataset) -> Entry:
    places = {}
    for name in ARRAYS:
        array = np.ascontiguousarray(getattr(dataset, name))
        file.write(bytes(-file.tell() % ALIGNMENT))
        places[name] = Place(file.tell(), array.dtype.str, array.shape)
        file.write(array.reshape(-1).view(np.uint8).data)
    return Entry(places, *without_arrays(dataset))


def without_arrays(dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a data set is beside its arrays: its other fields, and what was computed from all its bytes."""
    others = [field.name for field in dataclasses.fields(Dataset) if field.name not in ARRAYS]
    computed = {name: getattr(dataset, name) for name in ("fingerprint", "_histogram")}
    return {name: getattr(dataset, name) for name in others}, computed


def assemble(arrays: Mapping[str, Any], fields: Mapping[str, Any], computed: Mapping[str, Any]) -> Dataset:
    """The data set that these are the parts of; nothing is computed from its bytes again."""
    made = Dataset(**arrays, **fields)
    vars(made).update(computed)  # cached properties
    return made
