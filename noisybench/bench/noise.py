"""How fast labels are corrupted, against a loop as published code has it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

LOOP = 100_000
"""Labels the loop is timed on; its time for more is extrapolated."""
RATE, CLASSES = 0.4, 10


@dataclass(frozen=True)
class Timing:
    """Seconds for ``size`` labels: here, and of the loop (extrapolated where it was timed on fewer)."""

    name: str
    seconds: float
    loop_seconds: float
    size: int

    @property
    def ratio(self) -> float:
        """How many times faster."""
        return self.loop_seconds / self.seconds


def measure_noise(size: int, repeats: int, loop_size: int) -> list[Timing]:
    """``inject`` (hashing, checks and measured matrix included) and the loop on the same transition matrices."""
    from noisybench.noise import expected_transition, inject

    clean = np.random.Generator(np.random.Philox(0)).integers(0, CLASSES, size)
    matrix = _neighbours()
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "symmetric, exclusive, exact": ("symmetric", {"rate": RATE}),
        "symmetric, exclusive, independent": ("symmetric", {"rate": RATE, "count": "independent"}),
        "asymmetric, exact": ("asymmetric", {"rate": RATE, "mapping": "cifar10"}),
        "pairflip, exact": ("pairflip", {"rate": RATE}),
        "matrix, exact": ("matrix", {"matrix": matrix}),
        "matrix, independent": ("matrix", {"matrix": matrix, "count": "independent"}),
    }
    timings = []
    for name, (kind, params) in kinds.items():
        transition = expected_transition(kind, params, CLASSES)
        assert transition is not None

        def ours(kind: str = kind, params: dict[str, Any] = params) -> None:
            inject(clean, kind, num_classes=CLASSES, seed=0, **params)

        def loop(transition: np.ndarray = transition) -> None:
            sample_by_sample(clean[:loop_size], transition, 0)

        timings.append(Timing(name, _best(ours, repeats), _best(loop, 1) * size / loop_size, size))
    return timings


def sample_by_sample(labels: np.ndarray, transition: np.ndarray, seed: int) -> np.ndarray:
    """Noisy labels drawn one at a time: what most published code does, here to be measured against."""
    random = np.random.RandomState(seed)
    noisy = labels.copy()
    for n in range(len(labels)):
        one_hot = random.multinomial(1, transition[labels[n]], 1)[0]
        noisy[n] = np.flatnonzero(one_hot)[0]
    return noisy


def _neighbours() -> list[list[float]]:
    """Each class keeps 60 % and gives 30 % to the next and 10 % to the one after."""
    rows = 0.6 * np.eye(CLASSES) + 0.3 * np.roll(np.eye(CLASSES), 1, axis=1) + 0.1 * np.roll(np.eye(CLASSES), 2, axis=1)
    return [[float(share) for share in row] for row in rows]


def _best(work: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
