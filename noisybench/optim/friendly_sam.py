"""Friendly-SAM: perturb along the noise of the batch, not along the gradient all batches share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from noisybench.optim.sam import SAM
from noisybench.optim.sharpness import Radius
from noisybench.registry import optimizer


class FriendlySAM(SAM):
    """SAM along d = g - sigma m, m a running mean of the batch gradients  (Li et al. 2024, algorithm 1).

    e = rho d / ||d|| with m the mean before this batch, then m <- lmbda m + (1 - lmbda) g. The first step has no mean
    yet: d = g and m = g. Two forward-backward passes a step. State: m.
    """

    micro_batches = False

    def __init__(
        self,
        params: Any,
        base_class: Callable[..., torch.optim.Optimizer],
        *,
        sigma: float = 1.0,
        lmbda: float = 0.9,
        **options: Any,
    ) -> None:
        super().__init__(params, base_class, **options)
        self.sigma, self.lmbda = sigma, lmbda

    def _ascent_gradient(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        direction, means = [], []
        for gradient, mean in zip(gradients, self.recall("mean", weights), strict=True):
            direction.append(gradient if mean is None else gradient - self.sigma * mean)
            means.append(gradient.clone() if mean is None else mean * self.lmbda + gradient * (1 - self.lmbda))
        self._pending.append(("mean", weights, means))
        return direction


@optimizer("fsam", cite="li2024fsam", wraps=True)
def friendly_sam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.05,
    sigma: Annotated[float, Field(ge=0)] = 1.0,
    lmbda: Annotated[float, Field(ge=0, le=1)] = 0.9,
) -> FriendlySAM:
    """Friendly SAM: perturb along g - sigma m, m the running mean of batch gradients  (Li et al. 2024, algorithm 1).

    e = rho (g - sigma m) / ||g - sigma m||; then m <- lmbda m + (1 - lmbda) g, m = g after the first step, which is
    SAM's. Wraps the base optimiser (default ``sgd``); cost: two gradient evaluations an image. ``sigma: 0`` is SAM.
    Defaults are those of the authors' code (rho 0.05, sigma 1, lmbda 0.9).
    """
    return FriendlySAM(params, base, rho=rho, sigma=sigma, lmbda=lmbda, **base_params)
