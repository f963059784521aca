"""Instance-dependent noise: the image decides how likely a flip is and which class it goes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from noisybench.errors import DataError
from noisybench.noise.source import Corrupted, Source
from noisybench.registry import noise
from noisybench.seeding import Draws

CHUNK = 2048
"""Samples that are projected at a time: 2,048 x 3,072 features are 50 MB."""


def _wrong(sizes: np.ndarray, *, rate: float, std: float, variant: str, scale: str) -> float:
    """Mean of the truncated normal (0.2 -> 0.2055, 0.1 -> 0.1288)."""
    from scipy.special import ndtr

    if rate == 0:
        return 0.0
    low, high = -rate / std, (1 - rate) / std
    density = (np.exp(-(low**2) / 2) - np.exp(-(high**2) / 2)) / np.sqrt(2 * np.pi)
    return float(rate + std * density / (ndtr(high) - ndtr(low)))


@noise("instance", cite="xia2020pdn", wrong=_wrong)
def instance(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    rate: Annotated[float, Field(ge=0, le=1)],
    std: Annotated[float, Field(gt=0)] = 0.1,
    variant: Literal["pdn", "cifar_n"] = "pdn",
    scale: Literal["raw", "unit", "standardised"] = "raw",
) -> Corrupted:
    """Sample n flips with probability q_n to class c with chance softmax(x_n W_y)_c (Xia et al. 2020, algorithm 2).

    q_n is a normal variate of location ``rate`` and scale ``std`` (0.1 in the paper) truncated to [0, 1]; the softmax
    is over the classes other than the true one y, and W_y ``[D, K]`` has standard normal entries. ``variant: pdn``
    has one W per true class, ``cifar_n`` (the code of CIFAR-10N and CORES) the same W for all.

    ``rate`` is the *location*: the truncation moves the mean (0.1 -> 0.129, 0.9 -> 0.871); the record holds the share
    realised. 0 means no noise. ``scale`` decides how far the image settles the target: ``raw`` pixels 0 .. 255, as both
    codes feed CIFAR, make the softmax all but one-hot; ``unit`` divides them by 255; ``standardised`` also subtracts
    each channel's mean and divides by its standard deviation. Features that are no images (``[N, D]``) count every
    column as a channel, and only bytes are divided by 255. ``details``: ``mean_largest_offclass_share`` (how
    deterministic the target is: 1 is fully) and ``mean_flip_probability``.

    Draws are the same everywhere; products of floats are not, to the last bit. So a label may, rarely, differ between
    machines, and the record holds the hash of the labels.
    """
    if source.images is None:
        raise DataError("noise 'instance' needs the images: inject(..., images=...)")
    n = len(clean)
    flip = truncated_normal(draws.uniforms(n), rate, std)
    chosen, picks = draws.uniforms(n) < flip, draws.uniforms(n)
    prepare = _scaling(source.images, scale)
    targets, largest = np.empty(n, np.int64), np.empty(n)
    shared = _projection(draws.child("projection"), source.images, num_classes) if variant == "cifar_n" else None
    for c in range(num_classes):
        members = np.flatnonzero(clean == c)
        if len(members) == 0:
            continue
        weights = shared if shared is not None else _projection(draws.child(c), source.images, num_classes)
        for start in range(0, len(members), CHUNK):
            part = members[start : start + CHUNK]
            shares = offclass_shares(prepare(source.images[part]), weights, c)
            largest[part] = shares.max(axis=1)
            bounds = np.cumsum(shares, axis=1)
            targets[part] = (bounds <= picks[part, None] * bounds[:, -1:]).sum(axis=1)
    if not np.isfinite(largest).all():
        raise DataError("noise 'instance': the images hold numbers that are not finite")
    noisy = np.where(chosen, targets, clean) if rate > 0 else clean
    return Corrupted(
        noisy,
        {"mean_largest_offclass_share": largest.mean(), "mean_flip_probability": flip.mean() if rate > 0 else 0.0},
    )


def truncated_normal(uniforms: np.ndarray, location: float, std: float) -> np.ndarray:
    """Variates of a normal (location, std) truncated to [0, 1], from uniforms, by the inverse distribution function."""
    from scipy.special import ndtr, ndtri

    low, high = ndtr(-location / std), ndtr((1 - location) / std)
    variates: np.ndarray = np.clip(location + std * ndtri(low + uniforms * (high - low)), 0, 1)
    return variates


def offclass_shares(features: np.ndarray, weights: np.ndarray, own: int) -> np.ndarray:
    """Softmax of ``features [n, D] @ weights [D, K]`` over the classes other than ``own``, whose share is 0."""
    logits = features @ weights
    logits[:, own] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    shares: np.ndarray = np.exp(logits, out=logits)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _projection(draws: Draws, images: np.ndarray, num_classes: int) -> np.ndarray:
    features = int(np.prod(images.shape[1:]))
    return draws.normals(features * num_classes).reshape(features, num_classes)


def _scaling(images: np.ndarray, scale: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from some of ``images`` to their features, float64 ``[n, D]``."""
    divisor = 255.0 if scale != "raw" and images.dtype == np.uint8 else 1.0

    def flat(part: np.ndarray) -> np.ndarray:
        features: np.ndarray = part.reshape(len(part), -1) / divisor
        return features

    if scale != "standardised":
        return flat
    per_channel = int(np.prod(images.shape[2:]))
    total, squares = np.zeros(images.shape[1]), np.zeros(images.shape[1])
    for start in range(0, len(images), CHUNK):
        part = flat(images[start : start + CHUNK]).reshape(-1, images.shape[1], per_channel)
        total += part.sum(axis=(0, 2))
        squares += np.einsum("ncp,ncp->c", part, part)
    count = len(images) * per_channel
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std == 0] = 1.0
    mean, std = np.repeat(mean, per_channel), np.repeat(std, per_channel)
    return lambda part: (flat(part) - mean) / std
