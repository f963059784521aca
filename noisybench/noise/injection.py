"""From clean labels to noisy ones, with everything a record says about them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisybench import registry
from noisybench.errors import DataError, NoisybenchError
from noisybench.noise import files
from noisybench.noise.source import Corrupted, Source
from noisybench.noise.transition import measured_transition
from noisybench.seeding import Draws


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """What ``inject`` returns.

    ``labels`` int64 ``[N]`` and ``flipped`` bool ``[N]`` (label differs from the clean one); ``rate`` as requested
    (None where the kind takes none); ``realised_rate`` the share that is flipped; ``transition`` ``[K, K]`` as
    measured, T[i][j] = share of class i that is labelled j; ``sha256`` of the labels as little-endian int64;
    ``params`` all parameters of the kind with their defaults; ``details`` what else the kind measured.
    """

    labels: np.ndarray
    flipped: np.ndarray
    kind: str
    rate: float | None
    realised_rate: float
    transition: np.ndarray
    seed: int
    sha256: str
    clean: np.ndarray
    params: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """K; classes without samples count."""
        return len(self.transition)

    def save(self, path: str | Path) -> Path:
        """Write the labels in the format of the suffix (see ``write_labels``), without a sidecar."""
        files.save(self, path := Path(path))
        return path


def inject(
    clean_labels: np.ndarray,
    kind: str,
    *,
    num_classes: int,
    seed: int,
    images: np.ndarray | None = None,
    index: np.ndarray | None = None,
    folder: str | Path | None = None,
    **params: Any,
) -> NoisyLabels:
    """Corrupt ``clean_labels`` (int ``[N]``, 0 .. K-1). Pure: equal arguments give equal labels, for ever.

    ``params`` are those of the kind. Some kinds look at more: ``images`` uint8 ``[N, C, H, W]``; ``index`` int
    ``[N]``, the places of these samples in the full training set when they are a subset; ``folder``, where label
    files lie. All draws come from ``(seed, noise)``; with the same seed a higher rate flips the samples of a lower
    one and more.
    """
    component = registry.get("noise", kind)
    checked = component.validate(params)
    clean = _checked_labels(clean_labels, num_classes)
    source = _checked_source(len(clean), images, index, folder)
    given = clean.copy()  # a kind that writes into its argument must not change what flips are measured against
    arguments = {component.keys[key]: value for key, value in checked.items()}
    made = component.target(given, num_classes, Draws(seed, "noise"), source, **arguments)
    labels, details = (made.labels, made.details) if isinstance(made, Corrupted) else (np.asarray(made), {})
    if labels.shape != clean.shape or labels.dtype != np.int64 or _outside(labels, num_classes):
        raise NoisybenchError(f"noise '{kind}' must return int64 [{len(clean)}] labels 0 .. {num_classes - 1}")
    flipped = labels != clean
    rate = checked.get("rate")
    return NoisyLabels(
        labels=labels,
        flipped=flipped,
        kind=kind,
        rate=None if rate is None else float(rate),
        realised_rate=float(np.count_nonzero(flipped)) / len(clean),
        transition=measured_transition(clean, labels, num_classes),
        seed=int(seed),
        sha256=labels_sha256(labels),
        clean=clean,
        params=checked,
        details={name: float(value) for name, value in details.items()},
    )


def labels_sha256(labels: np.ndarray) -> str:
    """SHA-256 of labels as little-endian int64, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").data).hexdigest()


def build_noise(kind: str, **params: Any) -> Callable[..., NoisyLabels]:
    """``inject`` with kind and parameters fixed, and checked now: ``f(labels, num_classes=, seed=, ...)``."""
    registry.get("noise", kind).validate(params)
    return functools.partial(inject, kind=kind, **params)


def _checked_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) == 0 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"labels must be a non-empty 1-D array of integers, not {array.dtype} {list(array.shape)}")
    if num_classes < 2:
        raise DataError(f"label noise needs at least 2 classes, not {num_classes}")
    if _outside(array, num_classes):
        raise DataError(f"labels must be 0 .. {num_classes - 1}, not {array.min()} .. {array.max()}")
    return array.astype(np.int64)


def _checked_source(n: int, images: np.ndarray | None, index: np.ndarray | None, folder: str | Path | None) -> Source:
    if images is not None and len(images) != n:
        raise DataError(f"there are {len(images)} images for {n} labels")
    if index is not None:
        index = np.asarray(index)
        if index.shape != (n,) or not np.issubdtype(index.dtype, np.integer) or index.min() < 0:
            raise DataError(f"index must hold one place in the training set for each of {n} labels")
    return Source(images, index, None if folder is None else Path(folder))


def _outside(labels: np.ndarray, num_classes: int) -> bool:
    return bool(labels.min() < 0 or labels.max() >= num_classes)
