"""Label files: what ``inject`` writes and what the kind ``file`` reads.

| suffix | contents |
| --- | --- |
| ``.npz`` | ``labels``, ``clean``, ``flipped``, ``transition``, ``metadata`` (a JSON string) |
| ``.npy`` | the labels |
| ``.csv`` | a line ``index,clean,label``, then one line a sample |
| ``.json`` | a list of labels (DivideMix) |
| ``.pt`` | ``clean_label`` and ``noisy_label``, as the files of CIFAR-100N |
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from noisybench.errors import DataError, StoreError
from noisybench.noise.pickles import dump_pt, load_pt
from noisybench.store import write_atomic

if TYPE_CHECKING:
    from noisybench.noise.injection import NoisyLabels

FORMATS = (".npz", ".npy", ".csv", ".json", ".pt")
LABELS = ("labels", "label", "noisy_labels", "noisy_label")
CLEAN = ("clean", "clean_labels", "clean_label")


@dataclass(frozen=True, eq=False)
class StoredLabels:
    """Labels int64 ``[N]`` of a file, and the clean labels they were made from where the file has them."""

    labels: np.ndarray
    clean: np.ndarray | None


# -- writing -----------------------------------------------------------------------------------------------------------


def write_labels(noisy: NoisyLabels, path: str | Path, *, about: Mapping[str, Any] | None = None) -> Path:
    """Write labels in the format of the suffix and, beside them, ``<name>.meta.json``; returns the sidecar's path.

    The sidecar holds kind, parameters, convention, requested, expected and realised rate, matrix, seed, details and
    SHA-256 of labels, clean labels and file, and ``about`` (facts on the data set) as it stands. Both files are
    written to a temporary name, synced, then renamed; equal labels give equal bytes.
    """
    from noisybench import __version__
    from noisybench.noise.expected import expected_rate
    from noisybench.noise.injection import labels_sha256

    path = Path(path)
    save(noisy, path)
    sizes = np.bincount(noisy.clean, minlength=noisy.num_classes)
    sidecar = {
        "schema": 1,
        "noisybench": __version__,
        "data": dict(about or {}),
        "kind": noisy.kind,
        "params": dict(noisy.params),
        "convention": {key: noisy.params[key] for key in ("flip", "count", "targets") if key in noisy.params},
        "seed": noisy.seed,
        "size": len(noisy.labels),
        "num_classes": noisy.num_classes,
        "rate": noisy.rate,
        "expected_rate": expected_rate(noisy.kind, noisy.params, noisy.num_classes, sizes),
        "realised_rate": noisy.realised_rate,
        "flipped": int(np.count_nonzero(noisy.flipped)),
        "class_sizes": sizes.tolist(),
        "transition": noisy.transition.tolist(),
        "details": dict(noisy.details),
        "sha256": {
            "labels": noisy.sha256,
            "clean": labels_sha256(noisy.clean),
            "file": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    }
    beside = sidecar_of(path)
    _atomically(beside, lambda file: file.write((json.dumps(sidecar, indent=1, sort_keys=True) + "\n").encode()))
    return beside


def sidecar_of(path: Path) -> Path:
    """Where what describes a label file lies."""
    return path.with_name(f"{path.name}.meta.json")


def save(noisy: NoisyLabels, path: Path) -> None:
    """Write the labels alone, in the format of the suffix."""
    writers: dict[str, Callable[[BinaryIO], Any]] = {
        ".npz": lambda file: _write_npz(noisy, file),
        ".npy": lambda file: np.save(file, noisy.labels),
        ".csv": lambda file: _write_csv(noisy, file),
        ".json": lambda file: file.write(json.dumps(noisy.labels.tolist()).encode()),
        ".pt": lambda file: dump_pt({"clean_label": noisy.clean, "noisy_label": noisy.labels}, file),
    }
    _atomically(path, writers[_suffix(path)])


def _write_npz(noisy: NoisyLabels, file: BinaryIO) -> None:
    metadata = {
        "kind": noisy.kind,
        "params": dict(noisy.params),
        "seed": noisy.seed,
        "rate": noisy.rate,
        "realised_rate": noisy.realised_rate,
        "details": dict(noisy.details),
        "sha256": noisy.sha256,
    }
    np.savez(
        file,
        labels=noisy.labels,
        clean=noisy.clean,
        flipped=noisy.flipped,
        transition=noisy.transition,
        metadata=np.array(json.dumps(metadata, sort_keys=True)),
    )


def _write_csv(noisy: NoisyLabels, file: BinaryIO) -> None:
    file.write(b"index,clean,label\n")
    table = np.stack([np.arange(len(noisy.labels)), noisy.clean, noisy.labels], axis=1)
    np.savetxt(file, table, fmt="%d", delimiter=",", newline="\n")


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: label files end in {', '.join(FORMATS)}")
    return path.suffix.lower()


def _atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    buffer = io.BytesIO()
    write(buffer)
    try:
        write_atomic(path, buffer.getvalue())
    except StoreError as error:
        raise DataError(str(error)) from error


# -- reading -----------------------------------------------------------------------------------------------------------


def read_labels(path: str | Path, column: str | None = None) -> StoredLabels:
    """Labels from a file in one of the formats above, or as others write them.

    ``column`` names the array of an ``.npz`` or ``.pt``, the column of a ``.csv`` with a heading, or the key of a JSON
    object; needed where it is none of ``labels``, ``label``, ``noisy_labels``, ``noisy_label`` and there are several.
    A ``.csv`` without a heading is one column of labels. Raises DataError, one line, for anything that is not labels.
    """
    path = Path(path)
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".json": _json, ".pt": _pt}
    suffix = _suffix(path)
    try:
        found = readers[suffix](path)
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"label file {path}: {reason}") from error
    if not isinstance(found, Mapping):
        if column is not None:
            raise DataError(f"label file {path}: has no columns, so no '{column}'")
        return StoredLabels(_whole_numbers(found, str(path)), None)
    name = _label_column(found, column, path)
    twin = name.replace("noisy", "clean")
    clean = next((found[key] for key in (twin, *CLEAN) if key in found and key != name), None)
    where = f"{path} ({name})"
    return StoredLabels(_whole_numbers(found[name], where), None if clean is None else _whole_numbers(clean, where))


def _label_column(found: Mapping[str, Any], column: str | None, path: Path) -> str:
    candidates = [column] if column is not None else [*LABELS, *(found if len(found) == 1 else ())]
    name = next((key for key in candidates if key in found), None)
    if name is None:
        what = f"has no '{column}'" if column is not None else "'column' must say which labels are meant"
        raise DataError(f"label file {path}: {what}; it has: {', '.join(str(key) for key in found)}")
    return name


def _npz(path: Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _npy(path: Path) -> Any:
    found = np.load(path, allow_pickle=False)
    if not isinstance(found, np.ndarray):
        raise ValueError("not a .npy file")
    return found


def _pt(path: Path) -> Mapping[str, Any]:
    return load_pt(path.read_bytes(), f"label file {path}")


def _json(path: Path) -> Any:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, (list, dict)):
        raise ValueError("must hold a list of labels")
    return found


def _csv(path: Path) -> Any:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError("is empty")
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise ValueError(f"row {number} has {len(row)} fields, not {width}")
    heading = [text.strip() for text in rows[0]]
    if all(_is_number(text) for text in heading):
        if width != 1:
            raise ValueError(f"has {width} columns and no heading; one column of labels, or a heading, is needed")
        return _column([row[0] for row in rows])
    return {name: _column([row[i] for row in rows[1:]]) for i, name in enumerate(heading)}


def _column(texts: list[str]) -> list[int] | list[float] | list[str]:
    for kind in (int, float):
        try:
            return [kind(text) for text in texts]
        except ValueError:
            continue
    return texts


def _is_number(text: str) -> bool:
    return not isinstance(_column([text])[0], str)


def _whole_numbers(values: Any, where: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{where}: labels must be whole numbers [N], not {array.dtype} {list(array.shape)}")
    return array.astype(np.int64)
