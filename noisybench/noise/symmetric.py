"""Symmetric noise, in all conventions that tables mix."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from noisybench.errors import ParameterError
from noisybench.noise.source import Source
from noisybench.noise.transition import exact_count, exact_counts
from noisybench.registry import noise
from noisybench.seeding import Draws


def _expected(sizes: np.ndarray, *, rate: float, flip: str, count: str, targets: str) -> np.ndarray:
    classes = len(sizes)
    drawn = np.tile(np.full(classes, 1 / classes) if targets == "uniform" else sizes / sizes.sum(), (classes, 1))
    if flip == "exclusive":
        np.fill_diagonal(drawn, 0)
        totals = drawn.sum(axis=1, keepdims=True)
        drawn = np.divide(drawn, totals, out=np.eye(classes), where=totals > 0)
    expected: np.ndarray = (1 - rate) * np.eye(classes) + rate * drawn
    return expected


@noise("symmetric", cite="vanrooyen2015unhinged", transition=_expected)
def symmetric(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    rate: Annotated[float, Field(ge=0, le=1)],
    flip: Literal["exclusive", "inclusive"] = "exclusive",
    count: Literal["exact", "per_class", "independent"] = "exact",
    targets: Literal["uniform", "frequency"] = "uniform",
) -> np.ndarray:
    """A share ``rate`` of the labels is replaced by a class drawn at random, whatever the true class.

    ``flip: exclusive`` draws among the K-1 other classes, so that the wrong share is ``rate`` (Patrini et al. 2017,
    Co-teaching, APL, SAM); ``inclusive`` among all K, the true one too, so that it is about rate (K-1)/K (DivideMix,
    ELR, Arazo et al. 2019: "80%" of CIFAR-10 is 72% wrong).

    ``count: exact`` replaces rate N labels (rounded half up) drawn from the whole set without regard to class;
    ``per_class`` rate n_c labels of each class c (rounded half up), as the APL code does (its int(int(rate N)/K)
    differs only where that is no whole number, or classes differ in size); ``independent`` replaces each label with
    probability ``rate``.

    ``targets: uniform`` gives every class the same chance to be drawn, ``frequency`` one in proportion to its
    frequency in the clean labels, so that (inclusive) noise leaves the class frequencies as they are, in expectation.
    """
    n = len(clean)
    if count == "exact":
        chosen = draws.choose(n, exact_count(rate, n))
    elif count == "per_class":
        chosen = draws.choose_within(clean, exact_counts(rate, clean, num_classes))
    else:
        chosen = np.flatnonzero(draws.uniforms(n) < rate)
    if targets == "frequency":
        target = _by_frequency(clean, num_classes, draws, flip) if len(chosen) else clean
    elif flip == "exclusive":
        target = draws.integers(n, num_classes - 1)
        target += clean
        target += 1
        target[target >= num_classes] -= num_classes
    else:
        target = draws.integers(n, num_classes)
    noisy = clean.copy()
    noisy[chosen] = target[chosen]
    return noisy


def _by_frequency(clean: np.ndarray, num_classes: int, draws: Draws, flip: str) -> np.ndarray:
    """The clean label of a sample drawn at random: of all, or of those of other classes."""
    sizes = np.bincount(clean, minlength=num_classes)
    labels: np.ndarray = np.repeat(np.arange(num_classes), sizes)
    if flip == "inclusive":
        drawn: np.ndarray = labels[draws.integers(len(clean), len(clean))]
        return drawn
    if sizes.max() == len(clean):
        raise ParameterError("all labels are of one class; exclusive flips need another", key="targets")
    place = draws.integers(len(clean), len(clean) - sizes[clean])
    before = (np.cumsum(sizes) - sizes)[clean]
    place += np.where(place >= before, sizes[clean], 0)  # step over the samples of the own class
    drawn = labels[place]
    return drawn
