"""What a run is trained on: data and labels, as records say it. Kept beside an unsettled run, for who settles it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from noisybench.noise import expected_rate, measured_transition
from noisybench.store import json_with_hash, read_json, write_atomic
from noisybench.train.setup import Materials

LARGE_MATRIX = 20
"""Matrices with more classes than this go to ``curves.npz`` instead of the record."""
FILE = "made_from.json"
"""There from a run's start to its record: a worker that is killed can no longer say it."""


def describe(materials: Materials) -> dict[str, Any]:
    """``data`` and ``noise`` of a result."""
    return {"data": _data(materials), "noise": _noise(materials)}


def note(home: Path, materials: Materials) -> None:
    """Keep it beside the run until that is settled."""
    write_atomic(home / FILE, json_with_hash(describe(materials)))


def noted(home: Path) -> dict[str, Any]:
    """``data`` and ``noise`` of a run that ends without knowing them itself; None where it had not come so far."""
    try:
        known = read_json(home / FILE) if (home / FILE).exists() else {}
    except ValueError:
        known = {}
    return {"data": known.get("data"), "noise": known.get("noise")}


def forget(home: Path) -> None:
    """The record says it now, or a new start will; where the file cannot be removed it only takes up room."""
    with contextlib.suppress(OSError):
        (home / FILE).unlink(missing_ok=True)


def _data(materials: Materials) -> dict[str, Any]:
    dataset = materials.dataset
    return {
        "name": dataset.name,
        "id": dataset.id,
        "fingerprint": dataset.fingerprint,
        "comparable_as": dataset.comparable_as,
        "original_pixels": dataset.original_pixels,
        "train_size": len(materials.index),
        "test_size": len(dataset.test_labels),
        "holdout_size": len(materials.holdout),
        "num_classes": dataset.num_classes,
        "shape": list(dataset.shape),
    }


def _noise(materials: Materials) -> dict[str, Any]:
    """Shares of the training part: ``realised_rate`` is labelled as another class of the task, ``open_set_rate`` shows
    no class of the task; the two add up to the wrong share. ``expected_rate`` leaves open-set images out of account."""
    noise, index, holdout = materials.noise, materials.index, materials.holdout
    teacher, clean = materials.teacher, materials.dataset.train_labels
    flipped, open_set = materials.flipped, materials.open_set
    new_wrong = None if teacher is None else (teacher.labels != clean) | open_set.mask
    some = open_set.sha256 is not None
    return {
        "kind": noise.kind,
        "rate": noise.rate,
        "expected_rate": expected_rate(
            noise.kind, noise.params, noise.num_classes, np.bincount(clean, minlength=noise.num_classes)
        ),
        "realised_rate": float(flipped[index].mean()),
        "realised_rate_holdout": float(flipped[holdout].mean()) if len(holdout) else None,
        "open_set_rate": float(open_set.mask[index].mean()) if some else None,
        "open_set_rate_holdout": float(open_set.mask[holdout].mean()) if some and len(holdout) else None,
        "open_set_sha256": open_set.sha256,
        "transition": transition(materials).tolist() if len(noise.transition) <= LARGE_MATRIX else None,
        "sha256": noise.sha256,
        "seed": noise.seed,
        "details": dict(noise.details),
        "relabel_sha256": None if teacher is None else teacher.sha256,
        "new_label_wrong_share": None if new_wrong is None else float(new_wrong[index].mean()),
    }


def transition(materials: Materials) -> np.ndarray:
    """The measured matrix of the whole training subset, open-set images left out."""
    closed = ~materials.open_set.mask
    noise, dataset = materials.noise, materials.dataset
    if closed.all():
        return noise.transition
    return measured_transition(dataset.train_labels[closed], noise.labels[closed], dataset.num_classes)
