"""Colours of a whole batch, changed on its device: jitter of brightness, contrast, saturation and hue, and grey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from noisybench.seeding import Draws

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Columns of the jitter's draws."""


def draw_jitter(n: int, strengths: Sequence[float], probability: float, stream: Draws) -> Tensor:
    """Draws of ``n`` images, float32 ``[n, 8]``: what is changed by how much, and in which order.

    Columns 0 to 2: factors of brightness, contrast and saturation, uniform in [1 - s, 1 + s]; column 3: the turn of the
    hue, uniform in [-s, s] of the circle; columns 4 to 7: which of the four comes first, second, third and last. Where
    nothing is changed (probability 1 - ``probability``) the factors are 1 and the turn is 0.
    """
    applied = stream.uniforms(n)[:, None] < probability
    none = np.array([1.0, 1.0, 1.0, 0.0])
    changed = none + (2 * stream.uniforms(4 * n).reshape(n, 4) - 1) * np.asarray(strengths)
    order = stream.words(4 * n).reshape(n, 4).argsort(axis=1, kind="stable")
    drawn = np.concatenate([np.where(applied, changed, none), order], axis=1)
    return torch.from_numpy(drawn.astype(np.float32))


def jittered(images: Tensor, draws: Tensor) -> Tensor:
    """uint8 ``[B, C, H, W]`` -> the same, C 1 or 3; ``draws`` ``[B, 8]`` as of ``draw_jitter``.

    A factor f gives f x + (1 - f) m, cut off at black and white; m is black for the brightness, the image's mean grey
    for the contrast, the pixel's grey for the saturation. All images go through the same few operations: the factors
    that come before an image's hue, its hue, the others. Rounded once, at the end.
    """
    values, changes, order = images.float(), draws[:, :4], draws[:, 4:].long()
    hue_place = (order == HUE).long().argmax(dim=1)
    for place in range(3):
        values = _blended(values, changes, order[:, place], place < hue_place)
    if images.shape[1] == 3:
        values = hue_turned(values, changes[:, HUE])
    for place in range(1, 4):
        values = _blended(values, changes, order[:, place], place > hue_place)
    return values.round().to(torch.uint8)


def greyed(images: Tensor, draws: Tensor) -> Tensor:
    """Every channel the grey value where ``draws`` ``[B]`` is 1: uint8 ``[B, C, H, W]`` -> the same, C 1 or 3."""
    return torch.where(_per_image(draws == 1), grey(images).round().to(torch.uint8), images)


def grey(images: Tensor) -> Tensor:
    """Luminance float32 ``[B, 1, H, W]``, 0.299 red + 0.587 green + 0.114 blue; one channel is its own."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def hue_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Float ``[B, 3, H, W]``, each image's hue turned by ``turns`` ``[B]`` of the circle; value and chroma stay."""
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    value, least = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    chroma = value - least
    is_red, is_green = value == red, value == green
    above = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sixths = above / chroma.clamp(min=1e-6) + torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0))
    first = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    at = (first + sixths + 6 * _per_image(turns)).remainder(6)
    return value - chroma * torch.minimum(at, 4 - at).clamp(0, 1)


def _blended(values: Tensor, changes: Tensor, which: Tensor, now: Tensor) -> Tensor:
    """``f x + (1 - f) m`` where ``now`` ``[B]``, with the factor and the middle of change ``which`` ``[B]``."""
    own = grey(values)
    middle = torch.where(_per_image(which == SATURATION), own, own.mean(dim=(2, 3), keepdim=True))
    middle = torch.where(_per_image(which == BRIGHTNESS), 0.0, middle)
    factor = torch.where(now, changes.gather(1, which[:, None])[:, 0], 1.0)
    return (middle + _per_image(factor) * (values - middle)).clamp(0, 255)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
