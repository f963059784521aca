"""Labels from a file: others' noise, or what ``inject`` wrote."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from noisybench.errors import DataError
from noisybench.noise.files import read_labels
from noisybench.noise.source import Source
from noisybench.registry import FILE, noise
from noisybench.seeding import Draws


@noise("file")
def file(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    path: Annotated[str, FILE],
    column: str | None = None,
) -> np.ndarray:
    """Labels as they stand in ``path``: ``.npz``, ``.npy``, ``.csv``, ``.json`` (DivideMix) or ``.pt`` (CIFAR-N).

    One label for each image of the training set, in its order, or of the subset in use. ``column`` says which, where
    the file has several. Clean labels in the file must equal the data set's: otherwise it belongs to other data, or to
    another order. Rate and transition are measured.
    """
    stored = read_labels(source.find(path), column)
    labels = source.rows(stored.labels, len(clean), f"label file {path}")
    if stored.clean is not None:
        check_clean(source.rows(stored.clean, len(clean), f"label file {path}"), clean, f"label file {path}")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        first = outside[0]
        raise DataError(f"label file {path}: label {labels[first]} at {first} is outside 0 .. {num_classes - 1}")
    return labels.copy()


def check_clean(stored: np.ndarray, clean: np.ndarray, what: str) -> None:
    """DataError unless the clean labels of a file are the data set's, in its order."""
    differ = int(np.count_nonzero(stored != clean))
    if differ:
        raise DataError(
            f"{what}: its clean labels differ from the data set's at {differ:,} of {len(clean):,} places; "
            "it was made for other data, or for another order of it"
        )
