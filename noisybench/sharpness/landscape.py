"""Two-dimensional slices of the loss, in directions whose filters are as long as the network's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisybench.seeding import torch_generator
from noisybench.sharpness.objective import Objective


@dataclass(frozen=True)
class Surfaces:
    """``values[r, i, j]``: loss of run r at w_r + steps[i] d1 + steps[j] d2; ``run_ids`` names the runs."""

    run_ids: tuple[str, ...]
    steps: np.ndarray
    values: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What the npz holds."""
        return {"run_ids": np.array(self.run_ids), "steps": self.steps, "values": self.values}


def filter_normalised(direction: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """Scale each filter of a direction to the length of the network's: d <- d / ||d|| ||w||  (Li et al. 2018, sec. 4).

    A filter is what makes one output: a slice along the first axis. Biases and batch-norm parameters, which have one
    axis, do not move, as in the authors' figures.
    """
    scaled = []
    for d, w in zip(direction, weights, strict=True):
        if w.dim() < 2:
            scaled.append(torch.zeros_like(w))
            continue
        rows, own = d.flatten(1), w.flatten(1)
        length = rows.norm(dim=1, keepdim=True)
        length = torch.where(length > 0, length, torch.ones_like(length))
        scaled.append((rows / length * own.norm(dim=1, keepdim=True)).view_as(w))
    return scaled


def draw_direction(weights: Sequence[Tensor], number: int, seed: int = 0) -> list[Tensor]:
    """Direction ``number``: standard normal entries from ``(seed, landscape, number)``, then filter-normalised.

    Networks of one architecture get the same draws.
    """
    generator = torch_generator(seed, "landscape", number)
    raw = [torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w) for w in weights]
    return filter_normalised(raw, [w.detach() for w in weights])


def surfaces(
    objectives: Sequence[tuple[str, Objective]],
    *,
    points: int = 25,
    span: float = 1.0,
    seed: int = 0,
    observe: Callable[[str], None] = lambda text: None,
) -> Surfaces:
    """The loss of every network on a grid of ``points`` x ``points`` over [-span, span]^2 around its weights."""
    steps = np.linspace(-span, span, points)
    values = np.empty((len(objectives), points, points))
    for number, (name, objective) in enumerate(objectives):
        observe(name)
        one, two = (draw_direction(objective.weights, axis, seed) for axis in (0, 1))
        for i, alpha in enumerate(steps):
            for j, beta in enumerate(steps):
                move = [float(alpha) * a + float(beta) * b for a, b in zip(one, two, strict=True)]
                values[number, i, j] = objective.value_at(move)
    return Surfaces(tuple(name for name, _ in objectives), steps, values)
