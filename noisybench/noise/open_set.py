"""Open-set noise: images of something else under the labels of the task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from noisybench.errors import DataError
from noisybench.noise.transition import exact_count
from noisybench.seeding import Draws


@dataclass(frozen=True, eq=False)
class OpenSet:
    """Which training images show none of the task's classes, and the images as they are trained on.

    ``mask`` bool ``[N]``; ``images`` uint8 ``[N, C, H, W]``; ``sha256`` over both (None when nothing is open-set).
    """

    mask: np.ndarray
    images: np.ndarray
    sha256: str | None

    @property
    def share(self) -> float:
        """Share of the training images that are open-set."""
        return float(self.mask.mean())


def present(images: np.ndarray, mask: np.ndarray) -> OpenSet:
    """The open-set images that a data set brings itself (CIFAR-80N)."""
    return OpenSet(mask, images, _sha256(images, mask))


def replace_images(
    images: np.ndarray, others: np.ndarray, *, rate: float, seed: int, already: np.ndarray | None = None
) -> OpenSet:
    """Put ``others`` in the place of a share ``rate`` of ``images`` (rate N rounded half up); labels stay.

    Positions and images are drawn from (seed, noise, open_set): the same labels and a higher rate replace the images of
    a lower one and more. No image of ``others`` is used twice before all were used. ``already`` bool ``[N]`` marks
    images that were open-set before: they count as such afterwards, replaced or not. ``others`` are brought to the
    shape of ``images`` (see ``in_shape``).
    """
    draws = Draws(seed, "noise", "open_set")
    n = len(images)
    order = draws.permutation(n)[: exact_count(rate, n)]
    sources = draws.permutation(len(others))
    mask = np.zeros(n, bool) if already is None else already.copy()
    mask[order] = True
    replaced = images.copy()
    chosen = sources[np.arange(len(order)) % len(others)]
    for start in range(0, len(order), 4096):
        part = slice(start, start + 4096)
        replaced[order[part]] = in_shape(others[chosen[part]], (images.shape[1], images.shape[2], images.shape[3]))
    return OpenSet(mask, replaced, _sha256(replaced, mask))


def in_shape(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images uint8 ``[n, C, H, W]`` in another shape.

    Grey becomes colour by repetition, colour becomes grey as (299 R + 587 G + 114 B + 500) // 1000 (ITU-R 601); other
    numbers of channels are refused. Another height or width is resized bilinearly, smoothed when it shrinks (torch's
    ``interpolate``, ``antialias=True``), and rounded; what has the size already is not touched.
    """
    channels = images.shape[1]
    if channels != shape[0]:
        if channels == 1:
            images = np.repeat(images, shape[0], axis=1)
        elif (channels, shape[0]) == (3, 1):
            weights = np.array([299, 587, 114]).reshape(1, 3, 1, 1)
            images = (((images * weights).sum(axis=1, keepdims=True) + 500) // 1000).astype(np.uint8)
        else:
            raise DataError(f"open_set: images with {channels} channels cannot stand among images with {shape[0]}")
    if images.shape[2:] == shape[1:]:
        return images
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.ascontiguousarray(images)).double()
    resized = interpolate(pixels, size=shape[1:], mode="bilinear", align_corners=False, antialias=True)
    rounded: np.ndarray = resized.round().clamp(0, 255).to(torch.uint8).numpy()
    return rounded


def _sha256(images: np.ndarray, mask: np.ndarray) -> str | None:
    if not mask.any():
        return None
    digest = hashlib.sha256(np.packbits(mask).tobytes())
    digest.update(np.ascontiguousarray(images[mask]).data)
    return digest.hexdigest()
