"""Pair flip: every class is mistaken for the next one."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from noisybench.noise.transition import flip_within_classes
from noisybench.registry import noise
from noisybench.seeding import Draws


@noise("pairflip", cite="han2018coteaching")
def pairflip(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    images: np.ndarray | None,
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
