"""The loss around a trained network: how sharp its minimum is, and what it looks like.

Reads a finished run's record and weights, rebuilds its network, data and noisy labels, and measures. Nothing here
trains or touches a record. Stands beside ``noisybench/execute`` in the house: it uses ``noisybench/train``'s set-up.
"""

from __future__ import annotations

from noisybench.sharpness.landscape import Surfaces, surfaces
from noisybench.sharpness.measures import (
    adversarial_increase,
    largest_eigenvalue,
    random_increase,
    sam_increase,
    trace,
)
from noisybench.sharpness.objective import Objective
from noisybench.sharpness.study import Measured, measure
from noisybench.sharpness.trained import TrainedRun, load_run

__all__ = [
    "Measured",
    "Objective",
    "Surfaces",
    "TrainedRun",
    "adversarial_increase",
    "largest_eigenvalue",
    "load_run",
    "measure",
    "random_increase",
    "sam_increase",
    "surfaces",
    "trace",
]
