"""Damaged files of a settled run that need no training: others in its folder say the same again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisybench.data import DataFolder
from noisybench.errors import NoisybenchError
from noisybench.store import Store, arrays_sha256, read_arrays, read_bytes, set_aside, write_arrays
from noisybench.train import record as records
from noisybench.train.evaluation import confusion
from noisybench.train.setup import Materials, gather

Arrays = dict[str, np.ndarray]


def mend(
    store: Store, home: Path, record: Mapping[str, Any], damaged: dict[Path, str], folder: DataFolder
) -> list[str]:
    """Make again what can be made without training, and take it out of ``damaged``; returns what was done.

    What is made must have the hash that the record names. Otherwise it stays in ``damaged``, and nothing is changed.
    """
    ways: dict[str, Callable[[Path, Materials], Arrays]] = {"correct.npz": _correct, "curves.npz": _curves}
    found = [path for path in damaged if path.name in ways]
    if not found:
        return []
    try:
        materials = gather(record["result"]["spec"], folder, store)
    except (NoisybenchError, OSError):
        return []
    claimed = {**record["provenance"]["files"], "curves.npz": record["result"]["curves_sha256"]}
    notes = []
    for path in found:
        try:
            arrays = ways[path.name](home, materials)
        except (NoisybenchError, ValueError, KeyError, TypeError, IndexError):  # what is left does not say it
            continue
        if arrays_sha256(arrays) == claimed[path.name]:
            kept = f"; set aside as {set_aside(path).name}" if path.exists() else ""
            write_arrays(path, arrays)
            notes.append(f"{damaged.pop(path)}{kept}; made again from what lies beside it")
    return notes


def _test_classes(home: Path) -> torch.Tensor:
    return torch.from_numpy(read_arrays(home / "predictions.npz")[0]["test"].astype(np.int64))


def _correct(home: Path, materials: Materials) -> Arrays:
    return records.correct(_test_classes(home).numpy() == materials.dataset.test_labels)


def _curves(home: Path, materials: Materials) -> Arrays:
    """From the epochs' rows; the confusion counts, of a run that finished, from its predictions."""
    rows = [json.loads(line) for line in read_bytes(home / "epochs.jsonl").splitlines()]
    counts = None
    if (home / "predictions.npz").exists():
        labels = torch.from_numpy(materials.dataset.test_labels)
        counts = confusion(_test_classes(home), labels, materials.dataset.num_classes)
    return records.curves(rows, materials, counts)
