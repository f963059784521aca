"""A random window of each image, enlarged to the image's size: a whole batch on its device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from noisybench.seeding import Draws

ATTEMPTS = 10
"""Windows drawn for an image, of which the first that fits inside is taken."""


def draw_windows(n: int, height: int, width: int, scale: float, ratio: float, stream: Draws) -> Tensor:
    """Top, left, height and width of ``n`` windows, int64 ``[n, 4]``.

    Area / (height width) uniform in [scale, 1], log(wide / high) uniform between -log(ratio) and log(ratio), both sides
    rounded. Where no attempt fits, the largest window in the middle whose sides differ by at most ``ratio``.
    """
    areas = height * width * (scale + (1 - scale) * stream.uniforms(ATTEMPTS * n).reshape(n, ATTEMPTS))
    ratios = ratio ** (2 * stream.uniforms(ATTEMPTS * n).reshape(n, ATTEMPTS) - 1)
    high, wide = np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))
    fits = (high >= 1) & (high <= height) & (wide >= 1) & (wide <= width)
    first, found = (np.arange(n), fits.argmax(axis=1)), fits.any(axis=1)
    high = np.where(found, high[first], min(height, round(width * ratio))).astype(np.int64)
    wide = np.where(found, wide[first], min(width, round(height * ratio))).astype(np.int64)
    top = np.where(found, stream.integers(n, height - high + 1), (height - high) // 2)
    left = np.where(found, stream.integers(n, width - wide + 1), (width - wide) // 2)
    return torch.from_numpy(np.stack([top, left, high, wide], axis=1))


def resized_crop(images: Tensor, windows: Tensor) -> Tensor:
    """Each image's window (top, left, height, width) of ``[B, 4]`` at full size: uint8 ``[B, C, H, W]`` -> the same.

    Bilinear with pixel centres at halves; nothing outside the window is looked at; rounded once, at the end.
    """
    top, left, high, wide = (side[:, None] for side in windows.unbind(dim=1))
    return _stretched(_stretched(images, 2, top, high), 3, left, wide).round().to(torch.uint8)


def _stretched(images: Tensor, axis: int, start: Tensor, length: Tensor) -> Tensor:
    """Positions ``start`` to ``start + length - 1`` of an axis, each ``[B, 1]``, stretched over the whole axis."""
    size = images.shape[axis]
    at = ((torch.arange(size, device=images.device) + 0.5) * (length / size) - 0.5).clamp(min=0)
    low = at.long()
    shape = [len(images), 1, 1, 1]
    shape[axis] = size
    whole = [*images.shape]

    def pixels(inside: Tensor) -> Tensor:
        return images.gather(axis, (start + inside).view(shape).expand(whole)).float()

    return torch.lerp(pixels(low), pixels(torch.minimum(low + 1, length - 1)), (at - low).view(shape))
