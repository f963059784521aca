"""SANER: SAM that weighs down the gradient entries which SAM itself makes smaller."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field

from noisybench.optim.gradients import Perturbed
from noisybench.optim.sam import SAM
from noisybench.optim.sharpness import Radius
from noisybench.registry import Epochs, optimizer


class SANER(SAM):
    """SAM with (1 - alpha) g' wherever 0 < g' / g < 1, entry by entry  (Luong et al. 2024).

    g = grad L(w), g' = grad L(w + e). ``warmup``: alpha rises linearly over so many epochs, constant within an epoch
    (the first has alpha / warmup); ``set_progress`` says which epoch it is, without it alpha is as given. Two passes.
    """

    micro_batches = False

    def __init__(
        self,
        params: Any,
        base_class: Callable[..., torch.optim.Optimizer],
        *,
        alpha: float = 0.5,
        warmup: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(params, base_class, **options)
        self.alpha, self.warmup = alpha, warmup

    def kind(self) -> tuple[Any, ...]:
        """With the share of alpha that the epoch has."""
        return *super().kind(), self._share_of_alpha()

    def _share_of_alpha(self) -> float:
        return min(1.0, (math.floor(self.epoch) + 1) / self.warmup) if self.warmup else 1.0

    def _at_peak(self, move: Perturbed) -> None:
        share = self._share_of_alpha()
        for weight, before in zip(move.weights, move.gradients, strict=True):
            if weight.grad is not None:
                smaller = (weight.grad * before.sign() > 0) & (weight.grad.abs() < before.abs())
                weight.grad.mul_(1 - share * self.alpha * smaller.to(weight.grad.dtype))


@optimizer("saner", cite="luong2024saner", wraps=True)
def saner(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.1,
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5,
    warmup: Annotated[Epochs, Field(ge=0)] = 50,
) -> SANER:
    """SANER: SAM's gradient g' times (1 - alpha) in the entries where 0 < g' / g < 1  (Luong et al. 2024).

    Those entries are the ones SAM itself weighs down, where noisy labels dominate. ``warmup``: alpha rises linearly
    over so many epochs. Wraps the base optimiser (default ``sgd``); cost: two gradient evaluations an image. ``alpha:
    0`` is SAM. Authors' defaults: rho 0.1, alpha 0.5, warmup 50. Differs from the authors' code, whose alpha is the
    factor that remains (the same at 0.5), in that the comparison is exact (there g + 1e-8 divides) and batch-norm
    statistics move in the first pass.
    """
    return SANER(params, base, rho=rho, alpha=alpha, warmup=warmup, **base_params)
