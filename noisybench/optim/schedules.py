"""Learning-rate schedules: pure functions of training progress.

Each is ``f(epoch, epochs, *, ...) -> factor`` on the base learning rate. ``epoch`` counts completed epochs with a
fraction: step / steps per epoch at the step about to be taken, so the first step has 0. Nothing is kept between steps,
and a resumed run needs no scheduler state. Warm-up is no schedule: ``training.warmup`` multiplies the factor.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from noisybench.errors import ParameterError
from noisybench.registry import Epochs, schedule

Factor = Annotated[float, Field(ge=0)]
Pace = Literal["step", "epoch"]


def _paced(epoch: float, every: Pace) -> float:
    return float(math.floor(epoch)) if every == "epoch" else epoch


@schedule("constant")
def constant(epoch: float, epochs: int) -> float:
    """Constant learning rate: factor 1."""
    return 1.0


@schedule("cosine")
def cosine(epoch: float, epochs: int, *, end: Factor = 0.0, every: Pace = "step") -> float:
    """Cosine from 1 to ``end``: end + (1 - end) (1 + cos(pi epoch / epochs)) / 2  (Loshchilov & Hutter 2017, eq. 5).

    ``every: step`` follows the curve at each step; ``every: epoch`` holds its value through the epoch, as torch's
    CosineAnnealingLR stepped once an epoch. ``end`` is a factor on the base rate.
    """
    return end + (1 - end) * (1 + math.cos(math.pi * _paced(epoch, every) / epochs)) / 2


def _ascending(milestones: list[int]) -> list[int]:
    if milestones != sorted(milestones) or any(milestone < 0 for milestone in milestones):
        raise ValueError("must be ascending epochs, none below 0")
    return milestones


@schedule("step")
def step(epoch: float, epochs: int, *, every: Annotated[Epochs, Field(ge=1)] = 30, gamma: Factor = 0.1) -> float:
    """Staircase: gamma^floor(epoch / every). Epoch ``every`` (0-based) is the first at the lower rate."""
    return gamma ** math.floor(epoch / every)


@schedule("multistep")
def multistep(
    epoch: float,
    epochs: int,
    *,
    milestones: Annotated[list[Epochs], AfterValidator(_ascending)],
    gamma: Factor | list[Factor] = 0.1,
) -> float:
    """Multiply by gamma at each milestone; a list gives one gamma per milestone.

    A milestone m counts completed epochs: epoch m (0-based) is the first at the lower rate.
    """
    gammas = gamma if isinstance(gamma, list) else [gamma] * len(milestones)
    if len(gammas) != len(milestones):
        raise ParameterError(f"must be one number or one for each of the {len(milestones)} milestones", key="gamma")
    return math.prod(factor for factor, milestone in zip(gammas, milestones, strict=True) if epoch >= milestone)


@schedule("exponential")
def exponential(epoch: float, epochs: int, *, gamma: Factor = 0.95, every: Pace = "epoch") -> float:
    """Exponential decay, gamma^epoch; ``gamma`` is the factor per epoch. ``every: epoch`` is torch's ExponentialLR."""
    return float(gamma ** _paced(epoch, every))


@schedule("one_cycle")
def one_cycle(
    epoch: float,
    epochs: int,
    *,
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    start: Factor = 0.04,
    end: Factor = 4e-6,
    shape: Literal["cosine", "linear"] = "cosine",
) -> float:
    """One cycle: from ``start`` up to 1 at the share ``peak`` of training, down to ``end``  (Smith & Topin 2018).

    The base learning rate is the largest. Defaults are those of torch's OneCycleLR: 1/25 at the start, 1/25 x 1e-4 at
    the end, peak after 30 %, cosine arcs. Momentum is not cycled.
    """
    share = epoch / epochs
    if share < peak:
        low, way = start, share / peak
    else:
        low, way = end, (1 - share) / (1 - peak)
    if shape == "cosine":
        way = (1 - math.cos(math.pi * way)) / 2
    return low + (1 - low) * way
