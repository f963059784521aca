"""Surrogate gap guided SAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field

from noisybench.optim.gradients import Perturbed, without_component
from noisybench.optim.sam import SAM
from noisybench.optim.sharpness import Radius
from noisybench.optim.wrapper import Schedule
from noisybench.registry import optimizer


class GSAM(SAM):
    """SAM that also descends the surrogate gap L(w + e) - L(w)  (Zhuang et al. 2022, algorithm 1).

    The base gets g' - alpha g_v, where g_v is the part of g = grad L(w) orthogonal to g' = grad L(w + e): it lowers the
    gap and, to first order, leaves L(w + e) alone. Two forward-backward passes a step. alpha 0 is SAM.
    """

    micro_batches = False

    def __init__(
        self, params: Any, base_class: Callable[..., torch.optim.Optimizer], *, alpha: float = 0.4, **options: Any
    ) -> None:
        super().__init__(params, base_class, **options)
        self.alpha = alpha

    def _at_peak(self, move: Perturbed) -> None:
        vertical = without_component(move.gradients, move.at_peak())
        for weight, part in zip(move.weights, vertical, strict=True):
            if weight.grad is not None:
                weight.grad.sub_(part, alpha=self.alpha)


@optimizer("gsam", cite="zhuang2022gsam", wraps=True)
def gsam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.05,
    alpha: Annotated[float, Field(ge=0)] = 0.4,
    rho_schedule: Schedule = "constant",
    rho_end: Radius = 0.0,
) -> GSAM:
    """Surrogate gap guided SAM: the base gets g' - alpha g_v, g_v the part of g orthogonal to g'  (Zhuang et al. 2022).

    g = grad L(w), g' = grad L(w + rho g / ||g||). Wraps the base optimiser (default ``sgd``); cost: two gradient
    evaluations an image, as SAM. ``rho_schedule: lr`` is the paper's: rho follows the learning rate from rho to
    ``rho_end`` rho. Settings of the authors' code: alpha 0.4, rho constant or as the learning rate; alpha 0 is SAM.
    Differs from the authors' code in that w is copied back, not restored by subtraction.
    """
    return GSAM(params, base, rho=rho, alpha=alpha, rho_schedule=rho_schedule, rho_end=rho_end, **base_params)
