"""Pair flip: every class is mistaken for the next one."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from noisybench.noise.source import Source
from noisybench.noise.transition import flip_within_classes, mapped_transition
from noisybench.registry import noise
from noisybench.seeding import Draws


def _expected(sizes: np.ndarray, *, rate: float, count: str) -> np.ndarray:
    return mapped_transition((np.arange(len(sizes)) + 1) % len(sizes), rate)


@noise("pairflip", cite="han2018coteaching", transition=_expected)
def pairflip(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    rate: Annotated[float, Field(ge=0, le=1)],
    count: Literal["exact", "independent"] = "exact",
) -> np.ndarray:
    """A share ``rate`` of every class c becomes c + 1, the last class becomes 0 (Han et al. 2018, Co-teaching).

    ``count: exact`` flips rate n_c samples of each class (rounded half up), ``independent`` each sample with
    probability ``rate``.
    """
    target = (np.arange(num_classes) + 1) % num_classes
    return flip_within_classes(clean, target, draws, rate=rate, count=count)
