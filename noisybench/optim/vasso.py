"""VaSSO: perturb along a running mean of the gradients, whose variance is lower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from noisybench.optim.sam import SAM
from noisybench.optim.sharpness import Radius
from noisybench.registry import optimizer


class VaSSO(SAM):
    """SAM along d <- (1 - theta) d + theta g  (Li & Giannakis 2023). State: d; two passes a step.

    e = rho d / ||d||; d = g at the first step.
    """

    micro_batches = False

    def __init__(
        self, params: Any, base_class: Callable[..., torch.optim.Optimizer], *, theta: float = 0.9, **options: Any
    ) -> None:
        super().__init__(params, base_class, **options)
        self.theta = theta

    def _ascent_gradient(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        means = [
            gradient.clone() if mean is None else mean * (1 - self.theta) + gradient * self.theta
            for gradient, mean in zip(gradients, self.recall("mean", weights), strict=True)
        ]
        self._pending.append(("mean", weights, means))
        return means


@optimizer("vasso", cite="li2023vasso", wraps=True)
def vasso(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.05,
    theta: Annotated[float, Field(ge=0, le=1)] = 0.9,
) -> VaSSO:
    """Variance-suppressed SAM: perturb along d <- (1 - theta) d + theta g, d = g at first  (Li & Giannakis 2023).

    e = rho d / ||d||. Wraps the base optimiser (default ``sgd``); cost: two gradient evaluations an image.
    ``theta: 1`` is SAM. Defaults are those of the authors' code (rho 0.05, theta 0.9). Differs from it in that w is
    copied back, batch-norm statistics move in the first pass only, and the norm has no epsilon (there 1e-7).
    """
    return VaSSO(params, base, rho=rho, theta=theta, **base_params)
