"""RandAugment of a whole batch on its device: the fourteen operations of FixMatch, as Pillow computes them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from noisybench.seeding import Draws

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
HIGHEST = 10
"""The level of an operation's full strength; FixMatch draws 1 to 9."""
ONE = 1 << 16
"""Geometric operations count in 1/65536 of a pixel, as Pillow does: integers, the same on every device."""


def draw_rand_augment(n: int, operations: int, levels: int, stream: Draws) -> Tensor:
    """Draws of ``n`` images, int64 ``[n, operations, 3]``: the operation, its level from 1 to ``levels`` - 1 with the
    sign of its direction, and whether it is applied (1 or 0, with probability 1/2)."""
    drawn = []
    for _ in range(operations):
        operation = stream.integers(n, len(OPERATIONS))
        level = 1 + stream.integers(n, levels - 1)
        level *= 1 - 2 * stream.integers(n, 2)
        drawn.append(np.stack([operation, level, stream.integers(n, 2)], axis=1))
    return torch.from_numpy(np.stack(drawn, axis=1))


def rand_augment(images: Tensor, draws: Tensor) -> Tensor:
    """uint8 ``[B, C, H, W]`` -> the same: the operations of ``draws`` ``[B, n, 3]``, one after the other.

    C is 1 or 3. Images that get the same operation are treated together. Pixels from outside are 0.
    """
    images = images.clone()
    for operation, level, applied in (slot.unbind(dim=1) for slot in draws.unbind(dim=1)):
        kind = torch.where(applied == 1, operation, OPERATIONS.index("identity"))
        rows = (kind < len(GEOMETRIC)).nonzero()[:, 0]
        if len(rows):
            images[rows] = transformed(images[rows], kind[rows], level[rows])
        for name, function in PHOTOMETRIC.items():
            rows = (kind == OPERATIONS.index(name)).nonzero()[:, 0]
            if len(rows):
                images[rows] = function(images[rows], level[rows].abs()[:, None, None, None])
    return images


# -- geometry -----------------------------------------------------------------------------------------------------


def transformed(images: Tensor, kind: Tensor, level: Tensor) -> Tensor:
    """Rotated, sheared or moved: ``kind`` int64 ``[B]`` counts in ``GEOMETRIC``; the nearest pixel, 0 from outside."""
    size, device = images.shape, images.device
    height, width = size[2], size[3]
    coefficients = _coefficients(height, width).to(device)[kind, level + HIGHEST]  # [B, 6]
    a, b, c, d, e, f = (value[:, None, None] for value in coefficients.unbind(dim=1))
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)[None]
    column, row = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    column, row = column.clamp(-1, width) + 1, row.clamp(-1, height) + 1  # of the image in a frame of zeros
    at = (row * (width + 2) + column).flatten(1)
    framed = pad(images, (1, 1, 1, 1)).flatten(2)
    return framed.gather(2, at[:, None].expand(-1, size[1], -1)).view(size)


def _coefficients(height: int, width: int) -> Tensor:
    """Int64 ``[5, 21, 6]``: of each operation at levels -10 to 10, the map from a pixel to where it comes from."""
    table = [
        [_fixed(_affine(name, level, height, width)) for level in range(-HIGHEST, HIGHEST + 1)] for name in GEOMETRIC
    ]
    return torch.tensor(table, dtype=torch.int64)


def _affine(name: str, level: int, height: int, width: int) -> tuple[float, ...]:
    """(a, b, c, d, e, f): pixel (x, y) comes from (a x + b y + c, d x + e y + f)."""
    share = 0.3 * level / HIGHEST
    if name == "rotate":  # by up to 30 degrees around the middle
        angle = -math.radians(30 * level / HIGHEST)
        cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
        x, y = width / 2, height / 2
        return cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y
    if name == "shear_x":
        return 1, share, 0, 0, 1, 0
    if name == "shear_y":
        return 1, 0, 0, share, 1, 0
    if name == "translate_x":  # whole pixels, up to 30 % of the image
        return 1, 0, int(share * width), 0, 1, 0
    return 1, 0, 0, 0, 1, int(share * height)


def _fixed(matrix: tuple[float, ...]) -> list[int]:
    """In 1/65536 of a pixel, with the shift of half a pixel to the middle of pixels folded into c and f."""
    a, b, c, d, e, f = matrix
    return [math.floor(value * ONE + 0.5) for value in (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)]


# -- colours ------------------------------------------------------------------------------------------------------
# Each takes uint8 [B, C, H, W] and levels [B, 1, 1, 1] from 1 to 10. Enhancements move an image towards a degenerate
# one: what is left of it is 0.9 level / 10 + 0.05.


def autocontrast(images: Tensor, level: Tensor) -> Tensor:
    """Each channel stretched to 0 .. 255."""
    x = images.int()
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (x - low) * 255 // (high - low).clamp(min=1), x).to(torch.uint8)


def brightness(images: Tensor, level: Tensor) -> Tensor:
    """Towards black."""
    return _blended(torch.zeros_like(images, dtype=torch.int32), images, level)


def color(images: Tensor, level: Tensor) -> Tensor:
    """Towards grey."""
    return _blended(grey(images), images, level)


def contrast(images: Tensor, level: Tensor) -> Tensor:
    """Towards the rounded mean of its grey image."""
    g = grey(images)
    pixels = images.shape[2] * images.shape[3]
    return _blended((2 * g.sum(dim=(2, 3), keepdim=True) + pixels) // (2 * pixels), images, level)


def sharpness(images: Tensor, level: Tensor) -> Tensor:
    """Towards a smoothed image (the middle weighs 5 of 13); the outermost pixels stay as they are."""
    x = images.int()
    smooth = x.clone()
    total = 4 * x[:, :, 1:-1, 1:-1]
    height, width = x.shape[2:]
    for dy in range(3):
        for dx in range(3):
            total = total + x[:, :, dy : height - 2 + dy, dx : width - 2 + dx]
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26
    return _blended(smooth, images, level)


def equalize(images: Tensor, level: Tensor) -> Tensor:
    """Each channel's histogram made flat."""
    planes = images.flatten(2).long()
    counts = torch.zeros(*planes.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, planes, torch.ones_like(planes))
    last = planes.amax(dim=2, keepdim=True)
    step = (planes.shape[2] - counts.gather(2, last)) // 255
    below = counts.cumsum(dim=2) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table.gather(2, planes), planes).view(images.shape).to(torch.uint8)


def posterize(images: Tensor, level: Tensor) -> Tensor:
    """The upper 4 to 8 bits alone."""
    step = 2 ** (4 - 4 * level // HIGHEST).int()
    return (images.int() // step * step).to(torch.uint8)


def solarize(images: Tensor, level: Tensor) -> Tensor:
    """Inverted from 256 - 256 level / 10 on."""
    return torch.where(images >= 256 - 256 * level // HIGHEST, 255 - images, images)


def grey(images: Tensor) -> Tensor:
    """Luminance int32 ``[B, 1, H, W]`` (ITU-R 601-2) of three channels; one channel is its own."""
    x = images.int()
    if x.shape[1] == 1:
        return x
    red, green, blue = x[:, :1], x[:, 1:2], x[:, 2:3]
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _blended(degenerate: Tensor, images: Tensor, level: Tensor) -> Tensor:
    thousandths = 900 * level.int() // HIGHEST + 50
    return ((1000 * degenerate + thousandths * (images.int() - degenerate)) // 1000).to(torch.uint8)


PHOTOMETRIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": autocontrast,
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "equalize": equalize,
    "posterize": posterize,
    "sharpness": sharpness,
    "solarize": solarize,
}
OPERATIONS = (*GEOMETRIC, *PHOTOMETRIC, "identity")
