"""What runs need besides their spec, brought to machines that have no data folder: images, files, plug-ins.

``Shipper`` hands each thing once to ``put`` (Ray's object store: once a node, then mapped by all its processes), and
``unload`` lays out what a run names where ``train`` looks for it. Neither knows Ray.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from noisybench import registry
from noisybench.data import DataFolder, Dataset
from noisybench.data.shared import ARRAYS, assemble, without_arrays
from noisybench.errors import DataError
from noisybench.execute.work import Session, load_plugins
from noisybench.noise.source import Source
from noisybench.spec import RunSpec, at, canonical_json, component_mappings
from noisybench.train.kept import Delivered, adopt, needed, release

YOUNG_SECONDS = 60.0
"""A folder that is younger may be one that somebody is about to lock."""
PREFIX, LOCK = "noisybench-node-", "alive.lock"


@dataclass(frozen=True)
class Carried:
    """A file: ``said`` is what the suite calls it (None: it is looked for by
    its ``name`` in the data folder); ``content``: put."""

    said: str | None
    name: str
    sha256: str
    content: Any


@dataclass(frozen=True)
class Goods:
    """What one run needs. ``data``: blocks and data sets, put; ``plugins``: file names and sources."""

    plugins: tuple[tuple[str, bytes], ...]
    files: tuple[Carried, ...]
    data: tuple[tuple[Mapping[str, Any], Any], ...]


# -- the machine of the command -------------------------------------------------------------------------------------


class Shipper:
    """Everything that the runs of a command need, put once; a reference to it goes with each run."""

    def __init__(self, session: Session, put: Callable[[Any], Any]) -> None:
        self._session, self._put = session, put
        self._plugins = tuple((Path(path).name, Path(path).read_bytes()) for path in session.plugins)
        self._data: dict[str, Any] = {}
        self._files: dict[str, Any] = {}

    def goods(self, spec: RunSpec) -> Goods:
        """What ``spec`` needs; DataError where it is not to be had."""
        data = []
        for block, load in needed(spec.data, self._session.folder):
            key = canonical_json({**block, "validation": 0.0})
            if key not in self._data:
                self._data[key] = self._put(_laid_out(load()))
            data.append((dict(block), self._data[key]))
        files = {said or place.name: (said, place) for said, place in files_of(spec.data, self._session.folder)}
        return Goods(self._plugins, tuple(self._carried(*found) for found in files.values()), tuple(data))

    def _carried(self, said: str | None, place: Path) -> Carried:
        try:
            content = place.read_bytes()
        except OSError as error:
            raise DataError(f"{place}: {error.strerror or error}") from None
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._files:
            self._files[digest] = self._put(np.frombuffer(content, np.uint8))
        return Carried(said, place.name, digest, self._files[digest])


def files_of(data: Mapping[str, Any], folder: DataFolder) -> Iterator[tuple[str | None, Path]]:
    """``(what the spec calls it, where it lies here)`` of every file that a run reads besides its data set."""
    for path in data.get("files", {}):
        said = at(data, path)
        yield said, folder.resolve(said)
    yield from _noise_files(data["noise"], folder)


def _noise_files(block: Mapping[str, Any], folder: DataFolder) -> Iterator[tuple[str | None, Path]]:
    component = registry.get("noise", block["kind"])
    for key, value in block.items():
        if isinstance(value, str) and key in component.keys and {"place", "file"} & set(component.markers(key)):
            found = Source(folder=folder.path).find(value)
            if found.is_file():
                yield value, found
        for part in value if isinstance(value, list) else ():
            if isinstance(part, Mapping) and "kind" in part:
                yield from _noise_files(part, folder)
    wanted = component.traits.get("published")
    published = wanted(block) if wanted is not None else None
    if published is not None:
        yield None, folder.path / published.name


def _laid_out(dataset: Dataset) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    return {name: np.ascontiguousarray(getattr(dataset, name)) for name in ARRAYS}, *without_arrays(dataset)


# -- the node -------------------------------------------------------------------------------------------------------


class Room:
    """Where this process unloads: a folder, there while it has a run, and the data sets of its last run."""

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        sweep_rooms(parent)
        self.folder = parent / f"{PREFIX}{secrets.token_hex(8)}"
        self._data: dict[str, Dataset] = {}
        self._delivered: Delivered | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Path]:
        """The folder, made; with the run it goes, and so does one that a killed process left, sooner or later."""
        self.folder.mkdir(mode=0o700)
        try:
            with FileLock(self.folder / LOCK):  # the system's: it ends with this process
                (self.folder / "data").mkdir()
                yield self.folder
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def data_folder(self) -> DataFolder:
        """Where a run looks for data."""
        return DataFolder(self.folder / "data")

    def deliver(self, goods: Goods, get: Callable[[Any], Any], *, copied: bool) -> None:
        """Have the run's data sets where ``load_subset`` finds them; those of another run go."""
        wanted = {f"{canonical_json({**block, 'validation': 0.0})}{copied}": (block, put) for block, put in goods.data}
        if wanted.keys() != self._data.keys():
            release(self._delivered)
            self._data = {
                key: self._data[key] if key in self._data else _taken(get(put), copied)
                for key, (_, put) in wanted.items()
            }
        else:
            release(self._delivered)
        pairs = [(block, self._data[key]) for key, (block, _) in wanted.items()]
        self._delivered = Delivered(pairs, self.data_folder())
        adopt(self._delivered)

    def place(self, name: str, digest: str, content: Callable[[], bytes]) -> Path:
        """A file, written here."""
        path = self.folder / digest[:16] / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content())
        return path


def _taken(laid_out: tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]], copied: bool) -> Dataset:
    arrays, fields, computed = laid_out
    return assemble({name: array.copy() if copied else array for name, array in arrays.items()}, fields, computed)


_room: list[Room] = []  # of this process, once it needs one


def room() -> Room:
    """This process's."""
    if not _room:
        _room.append(Room())
    return _room[0]


def unload(session: Session, spec: RunSpec, goods: Goods, get: Callable[[Any], Any]) -> Session:
    """Lay out what a run needs in this process's open room; returns the session under which it finds everything.

    Data sets are what every process of the node maps: nobody may write to them. Built-in components do not; where a
    run has others, it gets a copy of its own.
    """
    here = room()
    paths = []
    for name, source in goods.plugins:
        paths.append(str(here.place(name, hashlib.sha256(source).hexdigest(), lambda source=source: source)))  # type: ignore[misc]  # bound, not asked for
    load_plugins(tuple(paths))
    moved = {}
    for file in goods.files:
        if file.said is None:
            (here.folder / "data" / file.name).write_bytes(get(file.content).tobytes())
        else:
            moved[file.said] = here.place(file.name, file.sha256, lambda file=file: get(file.content).tobytes())  # type: ignore[misc]
    foreign = any(
        registry.get(slot.family, block[slot.name_key]).origin for slot, block in component_mappings(spec.data)
    )
    here.deliver(goods, get, copied=foreign)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # and nobody writes to it
    return replace(session, data_dir=here.folder / "data", suite_dir=None, moved=moved, plugins=tuple(paths))


def sweep_rooms(parent: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):
            if time.time() - folder.stat().st_mtime > YOUNG_SECONDS:
                with FileLock(folder / LOCK).acquire(timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
