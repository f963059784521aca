"""Curricula: how much each sample of a batch counts, from its loss (MentorNet, MentorMix)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from noisybench.methods.descent import WeightedClosure

Percentile = Annotated[float, Field(gt=0, le=1)]
"""The share of a batch whose losses lie at or below the threshold."""
Decay = Annotated[float, Field(ge=0, lt=1)]
"""Of the threshold's moving average; 0 takes each batch by itself."""
Percent = Annotated[int, Field(ge=0, le=100)]
"""Percent of the run's steps."""

# -- the threshold --------------------------------------------------------------------------------------------------


def nearest_percentile(losses: Tensor, percentile: float) -> Tensor:
    """The loss at a percentile in [0, 1], nearest rank, a scalar: as TensorFlow, which counts ranks from the largest
    and rounds halves to even."""
    last = len(losses) - 1
    return losses.sort().values[last - round(last * (1 - percentile))]


def moving_threshold(threshold: Tensor, losses: Tensor, percentile: float, decay: float) -> Tensor:
    """m <- decay m + (1 - decay) percentile(losses); m is a scalar that starts at 0."""
    return decay * threshold + (1 - decay) * nearest_percentile(losses, percentile)


# -- weights in [0, 1] from the difference of a loss to the threshold -------------------------------------------------


def self_paced(difference: Tensor) -> Tensor:
    """1 where the loss is at or below the threshold, 0 elsewhere. difference, weights ``[B]``."""
    return (difference <= 0).to(difference.dtype)


def self_paced_linear(difference: Tensor, gamma: float = 1.0) -> Tensor:
    """1 at or below the threshold, falling linearly to 0 at gamma above it."""
    return (1 - difference / gamma).clamp(0, 1)


def predefined(difference: Tensor, percent: int | Tensor, gamma: float = 1.0) -> Tensor:
    """MentorNet PD: all samples up to 18 percent of training, self-paced below 90, linear from 90 on.

    (Jiang et al. 2018.) ``percent``: 0 to 99, of the batch or ``[B]``.
    """
    if not isinstance(percent, Tensor):
        percent = torch.full((), percent, device=difference.device)  # filled there: no copy that waits
    later = torch.where(percent < 90, self_paced(difference), self_paced_linear(difference, gamma))
    return torch.where(percent <= 18, torch.ones_like(difference), later)


# -- example dropout ------------------------------------------------------------------------------------------------


def stairs(schedule: Sequence[Sequence[float]]) -> list[list[float]]:
    """Check ``[[rate, percents], ...]``: rates in [0, 1], whole percents that add up to 100. Raises ValueError."""
    if any(len(stair) != 2 for stair in schedule):
        raise ValueError("must be a list of pairs [rate, percents of the run]")
    if any(not 0 <= rate <= 1 for rate, _ in schedule):
        raise ValueError("rates must lie in [0, 1]")
    if any(percents < 1 or percents != int(percents) for _, percents in schedule):
        raise ValueError("percents must be whole and at least 1")
    if sum(percents for _, percents in schedule) != 100:
        raise ValueError("percents must add up to 100")
    return [list(stair) for stair in schedule]


def rate_at(schedule: Sequence[Sequence[float]], percent: int) -> float:
    """The rate in force at a percent, 0 to 99, of the run."""
    end = 0.0
    for rate, percents in schedule:
        end += percents
        if percent < end:
            return rate
    return schedule[-1][0]


def kept_of(size: int, rate: float) -> int:
    """How many of ``size`` samples example dropout leaves: floor((1 - rate) size), without floating-point losses."""
    return math.floor((1 - rate) * size + 1e-9)


def dropout_mask(size: int, rate: float, generator: torch.Generator) -> Tensor:
    """1 for ``kept_of(size, rate)`` random samples, 0 for the others, float32 ``[size]``, on the CPU."""
    mask = torch.zeros(size)
    mask[torch.randperm(size, generator=generator)[: kept_of(size, rate)]] = 1
    return mask


def percent_of_run(step: int, steps: int) -> int:
    """Whole percent of a run, 0 to 99, before step 0 .. steps - 1."""
    return min(99, 100 * step // steps)


# -- weight decay that follows the weights ----------------------------------------------------------------------------


@dataclass(frozen=True)
class DecayedClosure(WeightedClosure):
    """``WeightedClosure`` that scales weight decay by the mean of ``decay_weights``, as both methods do.

    mean(v l) + mean(v) wd |w|^2 / 2: a batch of which little counts also decays little. The optimiser adds wd w to
    the gradient by itself, so (mean(v) - 1) wd w is added here. Decoupled weight decay (AdamW) is not scaled.
    """

    decay_weights: Tensor | None = None

    def __call__(self, create_graph: bool = False, **options: Any) -> Tensor:
        loss = super().__call__(create_graph, **options)
        if self.decay_weights is None or options.get("backward") is False:
            return loss
        factor = self.decay_weights.mean() - 1
        for group in self.optimizer.param_groups:
            decay, decoupled = group.get("weight_decay", 0), group.get("decoupled_weight_decay", False)
            weights = [weight for weight in group["params"] if weight.grad is not None or create_graph]
            if not decay or decoupled or not weights:
                continue
            if create_graph:
                loss = loss + factor * decay / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()
                continue
            with torch.no_grad():
                gradients = [weight.grad for weight in weights if weight.grad is not None]
                torch._foreach_add_(gradients, torch._foreach_mul(weights, factor * decay))
        return loss
