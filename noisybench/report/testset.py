"""The test set's own part: how far a mean would move with other test images, from the stored test predictions.

A bootstrap over seeds x images (two-way, both resampled independently; Owen 2007). All runs see the same resampled
images and all methods the same resampled seeds, so that differences are paired. Which images a replicate takes depends
on the number of images alone: same records, same numbers, in whatever order they are read.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisybench.report.grid import Entry, Grid
from noisybench.report.results import Run
from noisybench.report.statistics import rounding, student_quantile
from noisybench.seeding import Draws
from noisybench.store import read_arrays

REPLICATES = 1000
FILE = "correct.npz"
AGREE = 0.5
"""Stored predictions and record may differ by so many points (half precision on another device), not more."""
Place = tuple[str, str]
"""Row and column label of a grid."""


@dataclass(frozen=True)
class Part:
    """Half widths of 95 % intervals in points. ``images``: other test images, the same seeds. ``both``: other seeds and
    other images; None with one seed."""

    images: float
    both: float | None


@dataclass(frozen=True)
class TestSet:
    """What is known of one grid's test set. ``without``: finished runs that left no usable test predictions."""

    __test__ = False  # not a test, whatever its name says

    images: int
    parts: Mapping[Place, Part]
    without: int
    _replicates: Mapping[str, np.ndarray]
    _runs: Mapping[Place, Mapping[str, str]]

    def difference(self, first: Place, second: Place) -> Part | None:
        """Of first minus second, over the seeds both have; None where one of the two is not known."""
        one, two = self._runs.get(first), self._runs.get(second)
        shared = sorted(one.keys() & two.keys()) if one and two else []
        if not shared or one is None or two is None:
            return None
        apart = np.stack([self._replicates[one[s]] - self._replicates[two[s]] for s in shared], axis=1)
        return _part(apart, math.sqrt(2) * rounding(self.images))


def correct(run: Run) -> np.ndarray | None:
    """Which test images the final network gets right, bool ``[N]``; None where that is not stored or not this run's."""
    if run.home is None or run.status != "finished" or not (run.home / FILE).is_file():
        return None
    try:
        arrays, _ = read_arrays(run.home / FILE)
        right = np.unpackbits(arrays["correct"], count=int(arrays["images"])).astype(bool)
    except (ValueError, KeyError):
        return None
    last = run.number("test_accuracy.last")
    if len(right) != run.number("data.test_size") or last is None or abs(100 * right.mean() - last) > AGREE:
        return None
    return right


def measure(grid: Grid) -> TestSet | None:
    """Every entry whose finished runs all left their test predictions; None where there is no such entry."""
    shown = {place: entry for place, entry in grid.entries.items() if entry.summary is not None}
    found = {
        run.run_id: right for e in shown.values() for run in e.cell.finished if (right := correct(run)) is not None
    }
    count = len({run.run_id for entry in shown.values() for run in entry.cell.finished})
    runs = {place: known for place, entry in shown.items() if (known := _known(entry, found))}
    sizes = {len(found[run_id]) for known in runs.values() for run_id in known.values()}
    if len(sizes) != 1:  # nothing stored, or not one test set
        return None
    names = sorted({run_id for known in runs.values() for run_id in known.values()})
    table = _accuracies([found[name] for name in names])
    replicates = {name: table[:, i] for i, name in enumerate(names)}
    parts = {
        place: _part(np.stack([replicates[known[seed]] for seed in sorted(known)], axis=1), rounding(max(sizes)))
        for place, known in runs.items()
    }
    return TestSet(sizes.pop(), parts, count - len(found), replicates, runs)


def _known(entry: Entry, found: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Seed -> run id of the finished runs; empty unless all of them are known."""
    runs = entry.cell.finished
    return {run.seed: run.run_id for run in runs} if all(run.run_id in found for run in runs) else {}


def _part(accuracy: np.ndarray, least: float) -> Part:
    """Of accuracies ``[replicate, seed]`` on resampled images.

    The n seeds are resampled too, their deviations widened by sqrt(n / (n - 1)) so that the variance is unbiased, and
    the interval takes Student's quantile with the degrees of freedom of that sum (Welch, Satterthwaite): n - 1 where
    seeds matter, many where images do. A seed's standard deviation is not taken to be smaller than ``least``.
    """
    mean = accuracy.mean(axis=1)
    error = float(mean.std(ddof=1))
    images = round(student_quantile(math.inf) * error, 4)
    n = accuracy.shape[1]
    if n == 1:
        return Part(images, None)
    drawn = (accuracy * _seed_weights(n)).sum(axis=1) / n
    total = float((mean + math.sqrt(n / (n - 1)) * (drawn - mean)).std(ddof=1)) ** 2
    seeds = max(total - error**2, least**2 / n)
    total = error**2 + seeds
    degrees = (n - 1) * (total / seeds) ** 2 if seeds > 0 else math.inf
    return Part(images, round(student_quantile(degrees) * math.sqrt(total), 4))


def _accuracies(right: Sequence[np.ndarray]) -> np.ndarray:
    """Accuracy in percent ``[replicate, run]``. Sums of small integers in float32: exact, whatever adds them up."""
    weights = _image_weights(len(right[0]))
    out = np.empty((REPLICATES, len(right)))
    for start in range(0, len(right), 256):
        table = np.stack(right[start : start + 256], axis=1).astype(np.float32)
        for row in range(0, REPLICATES, 125):
            out[row : row + 125, start : start + 256] = weights[row : row + 125].astype(np.float32) @ table
    return 100 * out / len(right[0])


@functools.lru_cache(maxsize=2)
def _image_weights(images: int) -> np.ndarray:
    """How often each replicate takes each image, uint8 ``[replicate, image]``."""
    return np.stack([_counts(Draws(0, "bootstrap", "images", row), images) for row in range(REPLICATES)]).astype(
        np.uint8
    )


@functools.lru_cache(maxsize=16)
def _seed_weights(seeds: int) -> np.ndarray:
    return np.stack([_counts(Draws(0, "bootstrap", "seeds", row), seeds) for row in range(REPLICATES)])


def _counts(draws: Draws, n: int) -> np.ndarray:
    return np.bincount(draws.integers(n, n), minlength=n)


def table_rows(grid: Grid, found: TestSet) -> tuple[list[str], list[list[str]]]:
    """Head and rows of ``images / both``."""
    rows = []
    for row in grid.rows:
        parts = [found.parts.get((row, column.label)) for column in grid.columns]
        if any(parts):
            rows.append([row, *("–" if part is None else _text(part) for part in parts)])
    return ["method", *(column.short for column in grid.columns)], rows


def _text(part: Part) -> str:
    return f"± {part.images:.2f} / " + ("–" if part.both is None else f"± {part.both:.2f}")


def meaning(found: TestSet) -> str:
    """What the table says."""
    text = (
        f"How far a mean would move (95 %) with another test set of {found.images:,} images and the same seeds, and "
        "with other seeds and other images: a bootstrap over seeds x images of the predictions after the last epoch."
    )
    return text + (f" {found.without} finished runs left no test predictions." if found.without else "")


def in_short(found: TestSet) -> str:
    """One line for a terminal."""
    images = [part.images for part in found.parts.values()]
    both = [part.both for part in found.parts.values() if part.both is not None]
    text = f"Another test set of {found.images:,} images would move these means by ±{_range(images)} points"
    return text + (f"; with other seeds as well, ±{_range(both)}." if both else ".")


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"
