"""Made-up images with a class structure that a network can learn: no files, any shape."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from noisybench.data.dataset import DataFolder, Dataset
from noisybench.errors import DataError
from noisybench.registry import dataset
from noisybench.seeding import Draws

GRID = 4
NOISE = 96  # pixels move by the sum of two uniform integers, each at most this


@dataset("synthetic")
def synthetic(
    folder: DataFolder,
    *,
    channels: Annotated[int, Field(ge=1, le=64)] = 3,
    height: Annotated[int, Field(ge=1, le=1024)] = 32,
    width: Annotated[int, Field(ge=1, le=1024)] = 32,
    num_classes: Annotated[int, Field(ge=2, le=10000)] = 10,
    train_size: Annotated[int, Field(ge=1)] = 2000,
    test_size: Annotated[int, Field(ge=1)] = 1000,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Dataset:
    """Each class is a smooth random pattern; an image is its class's pattern plus noise. Classes are balanced.

    A pattern is a random 4x4 grid of grey values a channel, interpolated to the image size; all is integer
    arithmetic on raw random words, so the data is the same everywhere. For trying things out, not for science.
    """
    if min(train_size, test_size) < num_classes:
        raise DataError(f"synthetic: train_size and test_size must be at least num_classes, {num_classes}")
    shape = (channels, height, width)
    patterns = _patterns(Draws(seed, "data", "synthetic", "patterns"), num_classes, shape)
    parts = {}
    for part, size in (("train", train_size), ("test", test_size)):
        draws = Draws(seed, "data", "synthetic", part)
        labels = (np.arange(size) % num_classes)[draws.permutation(size)]
        parts[part] = _images(patterns, labels, draws), labels.astype(np.int64)
    return Dataset(
        name="synthetic",
        id="synthetic",
        train_images=parts["train"][0],
        train_labels=parts["train"][1],
        test_images=parts["test"][0],
        test_labels=parts["test"][1],
        class_names=tuple(str(c) for c in range(num_classes)),
    )


def _patterns(draws: Draws, num_classes: int, shape: tuple[int, int, int]) -> np.ndarray:
    """int64 ``[K, C, H, W]``, 0 .. 255: grids of GRID x GRID, bilinear."""
    channels, height, width = shape
    grid = draws.integers(num_classes * channels * GRID * GRID, 256).reshape(num_classes, channels, GRID, GRID)
    rows = _interpolate(grid, height, axis=2)
    return _interpolate(rows, width, axis=3)


def _interpolate(grid: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation of the GRID points of ``axis`` to ``size`` points, in integers."""
    span = max(size - 1, 1)
    position = np.arange(size) * (GRID - 1)
    left = np.minimum(position // span, GRID - 2)
    weight = (position - left * span).reshape([-1 if a == axis else 1 for a in range(grid.ndim)])
    near, far = np.take(grid, left, axis=axis), np.take(grid, left + 1, axis=axis)
    between: np.ndarray = (near * (span - weight) + far * weight) // span
    return between


def _images(patterns: np.ndarray, labels: np.ndarray, draws: Draws) -> np.ndarray:
    out = np.empty((len(labels), *patterns.shape[1:]), np.uint8)
    for start in range(0, len(labels), 1024):  # a chunk at a time: the words are 8 bytes a pixel
        chosen = patterns[labels[start : start + 1024]]
        words = draws.words(chosen.size).reshape(chosen.shape)
        low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
        scatter = sum(
            (half * np.uint64(2 * NOISE + 1) >> np.uint64(32)).astype(np.int64) - NOISE for half in (low, high)
        )
        out[start : start + 1024] = np.clip(chosen + scatter, 0, 255)
    return out
