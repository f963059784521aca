"""From clean labels to noisy ones, with everything a record says about them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisybench import registry
from noisybench.errors import DataError, NoisybenchError
from noisybench.noise.transition import measured_transition
from noisybench.seeding import Draws


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """What ``inject`` returns.

    ``labels`` int64 ``[N]`` and ``flipped`` bool ``[N]`` (label differs from the clean one); ``rate`` as requested
    (None where the kind takes none); ``realised_rate`` the share that is flipped; ``transition`` ``[K, K]`` as
    measured, T[i][j] = share of class i that is labelled j; ``sha256`` of the labels as little-endian int64.
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

    def save(self, path: str | Path) -> Path:
        """Write an ``.npz`` with ``labels``, ``clean``, ``flipped``, ``transition`` and ``metadata`` (a JSON string).

        Written to a temporary name in the same folder, synced, then renamed. Equal labels give equal bytes.
        """
        path = Path(path)
        metadata = {
            "kind": self.kind,
            "params": dict(self.params),
            "seed": self.seed,
            "rate": self.rate,
            "realised_rate": self.realised_rate,
            "sha256": self.sha256,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(
                        file,
                        labels=self.labels,
                        clean=self.clean,
                        flipped=self.flipped,
                        transition=self.transition,
                        metadata=np.array(json.dumps(metadata, sort_keys=True)),
                    )
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from error
        return path


def inject(
    clean_labels: np.ndarray,
    kind: str,
    *,
    num_classes: int,
    seed: int,
    images: np.ndarray | None = None,
    **params: Any,
) -> NoisyLabels:
    """Corrupt ``clean_labels`` (int ``[N]``, 0 .. K-1). Pure: equal arguments give equal labels, for ever.

    ``params`` are those of the kind. ``images`` uint8 ``[N, C, H, W]`` are for kinds that depend on them. All draws
    come from ``(seed, noise)``; with the same seed a higher rate flips the samples of a lower one and more.
    """
    component = registry.get("noise", kind)
    checked = component.validate(params)
    clean = _checked_labels(clean_labels, num_classes)
    given = clean.copy()  # a kind that writes into its argument must not change what flips are measured against
    arguments = {component.keys[key]: value for key, value in checked.items()}
    labels = np.asarray(component.target(given, num_classes, Draws(seed, "noise"), images, **arguments))
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
        sha256=hashlib.sha256(labels.astype("<i8", copy=False).tobytes()).hexdigest(),
        clean=clean,
        params=checked,
    )


def build_noise(kind: str, **params: Any) -> Callable[..., NoisyLabels]:
    """``inject`` with kind and parameters fixed, and checked now: ``f(labels, num_classes=, seed=, images=)``."""
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


def _outside(labels: np.ndarray, num_classes: int) -> bool:
    return bool(labels.min() < 0 or labels.max() >= num_classes)
