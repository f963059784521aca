"""Augmentation of a whole batch on its device, every sample with draws of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from noisybench.data.colour import draw_jitter, greyed, jittered
from noisybench.data.rand_augment import draw_rand_augment
from noisybench.data.resized_crop import draw_windows, resized_crop
from noisybench.errors import ParameterError
from noisybench.seeding import Draws


def check_augment(augment: Sequence[Mapping[str, Any]], shape: tuple[int, int, int]) -> None:
    """ParameterError if a step cannot be applied to images of this shape (C, H, W)."""
    for step in augment:
        if step["name"] == "crop" and step["mode"] == "reflect" and step["padding"] >= min(shape[1:]):
            raise ParameterError(
                f"crop: reflect padding {step['padding']} must be below the image size {min(shape[1:])}", key="augment"
            )
        if step["name"] in ("color_jitter", "grayscale") and shape[0] not in (1, 3):
            raise ParameterError(f"{step['name']}: needs images of 1 or 3 channels, not {shape[0]}", key="augment")
        if step["name"] == "randaugment" and (shape[0] not in (1, 3) or min(shape[1:]) < 3):
            raise ParameterError(
                f"randaugment: needs 1 or 3 channels and 3 x 3 pixels, not {' x '.join(map(str, shape))}", key="augment"
            )


def draw_augment(
    augment: Sequence[Mapping[str, Any]], n: int, shape: tuple[int, int, int], seed: int, *index: int
) -> dict[str, Tensor]:
    """The draws of ``n`` samples, made on the CPU from ``(seed, augment, index..., step)``: step -> int64.

    crop ``[n, 2]``: offset (down, right) of the window in the padded image, 0 .. 2 padding; flip and grayscale ``[n]``:
    0 or 1; resized_crop and color_jitter (float32): as of ``draw_windows`` and ``draw_jitter``;
    cutout ``[n, 2]``: row and column of the centre; randaugment: as of ``draw_rand_augment``.
    """
    draws: dict[str, Tensor] = {}
    for step in augment:
        name = step["name"]
        stream = Draws(seed, "augment", *index, name)
        if name == "randaugment":
            draws[name] = draw_rand_augment(n, step["operations"], step["levels"], stream)
            continue
        if name == "resized_crop":
            draws[name] = draw_windows(n, *shape[1:], step["scale"], step["ratio"], stream)
            continue
        if name == "color_jitter":
            strengths = [step[change] for change in ("brightness", "contrast", "saturation", "hue")]
            draws[name] = draw_jitter(n, strengths, step["probability"], stream)
            continue
        if name == "crop":
            drawn = np.stack([stream.integers(n, 2 * step["padding"] + 1) for _ in range(2)], axis=1)
        elif name == "flip":
            drawn = stream.integers(n, 2)
        elif name == "grayscale":
            drawn = (stream.uniforms(n) < step["probability"]).astype(np.int64)
        else:
            drawn = np.stack([stream.integers(n, size) for size in shape[1:]], axis=1)
        draws[name] = torch.from_numpy(drawn)
    return draws


def transform(images: Tensor, augment: Sequence[Mapping[str, Any]], draws: Mapping[str, Tensor]) -> Tensor:
    """Crops, flips and colours, in the order listed: uint8 ``[B, C, H, W]`` -> the same. ``draws`` as of
    ``draw_augment``. Crops and flips that follow one another are one gather."""
    moves: list[Mapping[str, Any]] = []
    for step in augment:
        name = step["name"]
        if name in ("crop", "flip"):
            moves.append(step)
        elif name in CHANGES:
            images, moves = CHANGES[name](move(images, moves, draws), draws[name]), []
    return move(images, moves, draws)


CHANGES = {"resized_crop": resized_crop, "color_jitter": jittered, "grayscale": greyed}
"""Steps of ``transform`` that are no mere moves of pixels."""


def move(images: Tensor, augment: Sequence[Mapping[str, Any]], draws: Mapping[str, Tensor]) -> Tensor:
    """Crop and flip, in the order listed: uint8 ``[B, C, H, W]`` -> the same. ``draws`` as of ``draw_augment``.

    Every output pixel's source row and column is worked out first, backwards through the list; then rows and columns
    are gathered once. A source outside a zero-padded image is a pixel of the one-pixel frame of zeros.
    """
    size, device = images.shape, images.device
    rows: Tensor | None = None  # [B, H], None: unchanged
    columns: Tensor | None = None  # [B, W]
    frame = 0
    for step in reversed(augment):
        if step["name"] == "crop":
            offset = draws["crop"] - step["padding"]
            rows = _positions(rows, size[2], device) + offset[:, :1]
            columns = _positions(columns, size[3], device) + offset[:, 1:]
            if step["mode"] == "reflect":
                rows, columns = _reflected(rows, size[2]), _reflected(columns, size[3])
            else:
                frame = 1
        elif step["name"] == "flip":
            columns = _positions(columns, size[3], device)
            columns = torch.where(draws["flip"][:, None] == 1, size[3] - 1 - columns, columns)
    if frame:
        images = functional.pad(images, (1, 1, 1, 1))
    if rows is not None:
        at = rows.clamp(-frame, size[2] - 1 + frame) + frame
        images = images.gather(2, at[:, None, :, None].expand(-1, size[1], -1, images.shape[3]))
    if columns is not None:
        at = columns.clamp(-frame, size[3] - 1 + frame) + frame
        images = images.gather(3, at[:, None, None, :].expand(-1, size[1], size[2], -1))
    return images


def _positions(given: Tensor | None, n: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device)[None] if given is None else given


def _reflected(at: Tensor, n: int) -> Tensor:
    """Positions mirrored at the borders without repeating them: -1 -> 1, n -> n - 2."""
    return (n - 1) - ((n - 1) - at.abs()).abs()


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """uint8 ``[B, C, H, W]`` -> (images / 255 - mean) / std, computed in float32, returned as ``dtype``."""
    scale = [1 / (255 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    if len(scale) == 1:
        return images.to(torch.float32).mul_(scale[0]).add_(shift[0]).to(dtype)
    channelwise = torch.tensor([scale, shift], dtype=torch.float32).to(images.device).view(2, 1, -1, 1, 1)
    return images.to(torch.float32).mul_(channelwise[0]).add_(channelwise[1]).to(dtype)


def cut_out(images: Tensor, size: int, centres: Tensor) -> Tensor:
    """Zero, in place, a square around each centre (y, x) of ``[B, 2]``: rows y - size // 2 to y - size // 2 + size - 1,
    columns likewise."""
    inside = []
    for axis, n in enumerate(images.shape[2:]):
        first = centres[:, axis, None] - size // 2
        at = torch.arange(n, device=images.device)[None]
        inside.append((at >= first) & (at < first + size))
    return images.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)
