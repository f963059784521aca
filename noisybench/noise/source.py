"""What a kind of noise may look at besides the labels, and what it may return besides the new ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from noisybench.errors import DataError


@dataclass(frozen=True, eq=False)
class Source:
    """Where the labels come from. Everything is optional; a kind that needs a part says so when it is missing.

    ``images`` ``[N, ...]`` (uint8 ``[N, C, H, W]`` from a data set); ``index`` int64 ``[N]``: the place of each sample
    in the full training set, when the labels are a subset's; ``folder``: where data files are looked for.
    """

    images: np.ndarray | None = None
    index: np.ndarray | None = None
    folder: Path | None = None

    def rows(self, values: np.ndarray, n: int, what: str) -> np.ndarray:
        """The entries of ``values`` (one per sample of the full training set, or of this subset) for the N samples."""
        if self.index is not None and self.index.max() < len(values):
            taken: np.ndarray = values[self.index]
            return taken
        if len(values) == n:
            return values
        subset = "" if self.index is None else f", a subset of a training set of at least {self.index.max() + 1}"
        raise DataError(f"{what} has {len(values)} entries, the data {n}{subset}")

    def find(self, path: str | Path) -> Path:
        """``path`` as it stands, or inside ``folder`` when it is relative and lies there."""
        given = Path(path).expanduser()
        if self.folder is not None and (self.folder / given).exists():
            return self.folder / given
        return given


class Corrupted(NamedTuple):
    """Labels with what the kind measured while it made them (numbers, kept in ``NoisyLabels.details``)."""

    labels: np.ndarray
    details: dict[str, float]
