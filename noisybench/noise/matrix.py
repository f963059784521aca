"""Class-dependent noise with any transition matrix."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator

from noisybench.errors import DataError, ParameterError
from noisybench.noise.source import Source
from noisybench.registry import FILE, noise
from noisybench.seeding import Draws

TOLERANCE = 1e-6


def check_transition(rows: list[list[float]]) -> list[list[float]]:
    """ValueError unless square, with entries in 0 .. 1 and rows that sum to one (to 1e-6)."""
    for i, row in enumerate(rows):
        if len(row) != len(rows):
            raise ValueError(f"must be square: row {i} has {len(row)} entries, there are {len(rows)} rows")
        if not all(0 <= p <= 1 for p in row):
            raise ValueError(f"must hold probabilities: row {i} has an entry outside 0 .. 1")
        if abs(math.fsum(row) - 1) > TOLERANCE:
            raise ValueError(f"rows must sum to 1: row {i} sums to {math.fsum(row):.10g}")
    return rows


def _expected(sizes: np.ndarray, *, matrix: list[list[float]] | None, path: str | None, count: str) -> np.ndarray:
    return _given(len(sizes), matrix, path)


@noise("matrix", cite="patrini2017", transition=_expected)
def matrix(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    matrix: Annotated[list[list[float]], AfterValidator(check_transition)] | None = None,
    path: Annotated[str | None, FILE] = None,
    count: Literal["exact", "independent"] = "exact",
) -> np.ndarray:
    """A sample of class i gets label j with probability T[i][j]; T is given as ``matrix`` or in a file ``path``.

    The file is ``.npy`` or comma-separated text, K rows of K numbers. ``count: independent`` draws each label by
    itself; ``exact`` gives class i, as near as whole numbers go, n_i T[i][j] labels j: rounded down, and what is
    left over to the largest remainders (ties: the lower j), to samples chosen at random.
    """
    transition = _given(num_classes, matrix, path, source)
    return _exact(clean, transition, draws) if count == "exact" else _independent(clean, transition, draws)


def _given(
    num_classes: int, matrix: list[list[float]] | None, path: str | None, source: Source | None = None
) -> np.ndarray:
    if (matrix is None) == (path is None):
        raise ParameterError("give either 'matrix' or 'path'", key="matrix")
    transition = np.array(matrix if path is None else _read((source or Source()).find(path)), dtype=np.float64)
    if len(transition) != num_classes:
        raise ParameterError(
            f"it is {len(transition)} x {len(transition)}, the data has {num_classes} classes",
            key="matrix" if path is None else "path",
        )
    return transition


def _exact(clean: np.ndarray, transition: np.ndarray, draws: Draws) -> np.ndarray:
    sizes = np.bincount(clean, minlength=len(transition))
    counts = np.stack([largest_remainder(row, int(n)) for row, n in zip(transition, sizes, strict=True)])
    return draws.assign_within(clean, counts, np.arange(len(transition)))


def _independent(clean: np.ndarray, transition: np.ndarray, draws: Draws) -> np.ndarray:
    uniforms = draws.uniforms(len(clean))
    narrow = np.uint16 if len(transition) <= 1 << 16 else np.int64
    order = np.argsort(clean.astype(narrow), kind="stable")  # class by class; a radix sort
    uniforms, start = uniforms[order], 0
    sorted_labels = np.empty(len(clean), np.int64)
    for row, size in zip(transition, np.bincount(clean, minlength=len(transition)), strict=True):
        bounds = np.cumsum(row)
        bounds[np.flatnonzero(row)[-1] :] = np.inf  # rounding must not leave room for a class of probability 0
        part = slice(start, start + int(size))
        sorted_labels[part] = np.searchsorted(bounds, uniforms[part], side="right")
        start += int(size)
    noisy = np.empty_like(sorted_labels)
    noisy[order] = sorted_labels
    return noisy


def largest_remainder(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers near ``shares`` times ``total`` with sum ``total``, int64: floors, then the largest remainders."""
    exact = shares / math.fsum(shares) * total
    counts = np.floor(exact + 1e-9).astype(np.int64)  # 0.29 * 100 is 28.999999999999996
    rest = np.argsort(-np.round(exact - counts, 9), kind="stable")[: total - int(counts.sum())]
    counts[rest] += 1
    return counts


def _read(path: Path) -> list[list[float]]:
    try:
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
        else:
            table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float64)
        rows = [[float(p) for p in row] for row in table]
        return check_transition(rows)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"transition matrix {path}: {error}") from error
