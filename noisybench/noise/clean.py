"""No noise."""

from __future__ import annotations

import numpy as np

from noisybench.registry import noise
from noisybench.seeding import Draws


@noise("clean")
def clean(clean: np.ndarray, num_classes: int, draws: Draws, images: np.ndarray | None) -> np.ndarray:
    """The labels as they are: the upper end of every comparison."""
    return clean
