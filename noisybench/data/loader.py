"""Batches from images that live on the device. No image passes through Python one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.data.augment import check_augment, cut_out, draw_augment, normalise, transform
from noisybench.data.rand_augment import rand_augment
from noisybench.errors import DataError, ParameterError
from noisybench.seeding import Draws
from noisybench.suite.augmentations import parse_augment

CHUNK = 2048
"""Images that are augmented in one go and then handed out in batches. It saves kernel launches, changes no result."""


@dataclass(frozen=True)
class Batch:
    """``index`` int64 ``[B]``: positions in the full image tensor; ``images`` ``[B, C, H, W]`` normalised, or a list
    of such tensors, one a view, when the loader makes several; ``labels`` int64 ``[B]``; ``inputs``: what the algorithm
    adds for its step (``Algorithm.step_inputs``)."""

    index: Tensor
    images: Any  # Tensor, or list[Tensor]: a union would make every algorithm with one view check for the list
    labels: Tensor
    inputs: tuple[Tensor, ...] = ()


class Loader:
    """Shuffled, augmented, normalised batches. ``epoch(e)`` is a pure function of its arguments, the seed and ``e``.

    ``images`` uint8 ``[N, C, H, W]`` and ``labels`` int64 ``[N]`` lie on the device; ``index`` ``[n]`` are the
    positions to use (default: all). A last batch of one image joins the batch before it, because batch norm cannot
    take it; ``drop_last`` drops what does not fill a batch. ``views`` > 1 augments every image that many times, view
    0 being what a loader with one view gives. ``first_view`` numbers the first view otherwise, so that a loader with
    other steps gives the same images in the same order with draws of its own. Order and augmentation draws of an epoch
    are made on the CPU from raw words of ``(seed, order, e)`` and ``(seed, augment, e, view, step)``: the same on every
    device and torch version.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int,
        batch_size: int,
        augment: Sequence[Any],
        mean: Sequence[float],
        std: Sequence[float],
        index: Tensor | None = None,
        views: int = 1,
        first_view: int = 0,
        drop_last: bool = False,
        channels_last: bool = False,
        shuffle: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.images, self.labels, self.device = images, labels, images.device
        self.index = torch.arange(len(images), device=self.device) if index is None else index.to(self.device)
        self.seed, self.batch_size, self.views, self.first_view = seed, batch_size, views, first_view
        self.augment = parse_augment(augment)
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype
        self.channels_last, self.shuffle = channels_last, shuffle
        self.shape: tuple[int, int, int] = (images.shape[1], images.shape[2], images.shape[3])
        check_augment(self.augment, self.shape)
        if len(labels) != len(images):
            raise DataError(f"{len(images)} images but {len(labels)} labels")
        if batch_size < 1 or views < 1:
            raise ParameterError(f"batch_size and views must be at least 1, not {batch_size} and {views}")
        self.sizes = _batch_sizes(len(self.index), batch_size, drop_last)
        if not self.sizes:
            raise DataError(f"{len(self.index)} images make no batch of {batch_size}")

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.sizes)

    @property
    def images_per_epoch(self) -> int:
        """Images that an epoch really uses: fewer than ``len(index)`` only with ``drop_last``."""
        return sum(self.sizes)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch ``epoch``."""
        order = self.index
        if self.shuffle:
            permutation = Draws(self.seed, "order", epoch).permutation(len(self.index))
            order = order[torch.from_numpy(permutation).to(self.device)]
        n = self.images_per_epoch
        draws = [self._draws(n, epoch, self.first_view + view) for view in range(self.views)]
        for start, sizes in _chunks(self.sizes, CHUNK):
            stop = start + sum(sizes)
            index = order[start:stop]
            raw = self.images.index_select(0, index)
            views = [
                torch.split(self._view(raw, {name: d[start:stop] for name, d in drawn.items()}), sizes)
                for drawn in draws
            ]
            labels = torch.split(self.labels.index_select(0, index), sizes)
            for b, positions in enumerate(torch.split(index, sizes)):
                yield Batch(positions, views[0][b] if self.views == 1 else [v[b] for v in views], labels[b])

    def _draws(self, n: int, epoch: int, view: int) -> dict[str, Tensor]:
        drawn = draw_augment(self.augment, n, self.shape, self.seed, epoch, view)
        return {name: values.to(self.device) for name, values in drawn.items()}

    def _view(self, raw: Tensor, draws: dict[str, Tensor]) -> Tensor:
        images = transform(raw, self.augment, draws)
        if "randaugment" in draws:
            images = rand_augment(images, draws["randaugment"])
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        images = normalise(images, self.mean, self.std, self.dtype)
        for step in self.augment:
            if step["name"] == "cutout":
                images = cut_out(images, step["size"], draws["cutout"])
        return images


def _batch_sizes(n: int, batch_size: int, drop_last: bool) -> list[int]:
    sizes = [batch_size] * (n // batch_size)
    rest = n % batch_size
    if rest == 0 or drop_last:
        return sizes
    if rest == 1 and sizes:
        return [*sizes[:-1], batch_size + 1]
    return [*sizes, rest]


def _chunks(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, list[int]]]:
    """Group batches into chunks of at most ``limit`` images, at least one batch each: (first image, batch sizes)."""
    ends = np.cumsum(sizes)
    first = start = 0
    while first < len(sizes):
        last = max(first + 1, int(np.searchsorted(ends, start + limit, side="right")))
        yield start, list(sizes[first:last])
        first, start = last, int(ends[last - 1])
