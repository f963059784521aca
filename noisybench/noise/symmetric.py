"""Symmetric noise, in both conventions that tables mix."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from noisybench.noise.transition import exact_count
from noisybench.registry import noise
from noisybench.seeding import Draws


@noise("symmetric", cite="vanrooyen2015unhinged")
def symmetric(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    images: np.ndarray | None,
    *,
    rate: Annotated[float, Field(ge=0, le=1)],
    flip: Literal["exclusive", "inclusive"] = "exclusive",
    count: Literal["exact", "independent"] = "exact",
) -> np.ndarray:
    """A share ``rate`` of the labels is replaced by a class drawn uniformly, whatever the true class.

    ``flip: exclusive`` draws among the K-1 other classes, so that the wrong share is ``rate`` (Patrini et al. 2017,
    Co-teaching, APL, SAM); ``inclusive`` among all K, the true one too, so that it is about rate (K-1)/K (DivideMix,
    ELR, Arazo et al. 2019: "80%" of CIFAR-10 is 72% wrong).

    ``count: exact`` replaces rate N labels (rounded half up) drawn from the whole set without regard to class;
    ``independent`` replaces each with probability ``rate``.
    """
    n = len(clean)
    if count == "exact":
        chosen = draws.choose(n, exact_count(rate, n))
    else:
        chosen = np.flatnonzero(draws.uniforms(n) < rate)
    if flip == "exclusive":
        target = (clean + 1 + draws.integers(n, num_classes - 1)) % num_classes
    else:
        target = draws.integers(n, num_classes)
    noisy = clean.copy()
    noisy[chosen] = target[chosen]
    return noisy
