"""LookSAM: the direction that SAM adds to the gradient, reused for some steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from noisybench.optim.gradients import Perturbed, norm, without_component
from noisybench.optim.sam import SAM
from noisybench.optim.sharpness import Count, Radius
from noisybench.registry import optimizer


class LookSAM(SAM):
    """SAM in every k-th step; in between g plus what SAM last added orthogonally  (Liu et al. 2022, algorithm 1).

    At steps 0, k, 2k, ...: the base gets g', and g_v = g' - <g', g> g / ||g||^2 is kept. At the others it gets
    g + alpha ||g|| g_v / ||g_v||, one pass. Projection and norms are over all parameters. State: g_v / ||g_v||.
    """

    micro_batches = False

    def __init__(
        self,
        params: Any,
        base_class: Callable[..., torch.optim.Optimizer],
        *,
        k: int = 5,
        alpha: float = 0.7,
        **options: Any,
    ) -> None:
        super().__init__(params, base_class, every=k, **options)
        self.alpha = alpha

    def _at_peak(self, move: Perturbed) -> None:
        vertical = without_component(move.at_peak(), move.gradients)
        length = norm(vertical)
        length = torch.where(length > 0, length, torch.ones_like(length))
        self._pending.append(("vertical", move.weights, [part / length for part in vertical]))

    def _between(self) -> None:
        weights = [weight for weight in self.weights() if weight.grad is not None]
        gradients: list[Tensor] = [weight.grad for weight in weights if weight.grad is not None]
        length = norm(gradients) * self.alpha
        for gradient, part in zip(gradients, self.recall("vertical", weights), strict=True):
            if part is not None:
                gradient.add_(part * length)


@optimizer("looksam", cite="liu2022looksam", wraps=True)
def looksam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.05,
    k: Count = 5,
    alpha: Annotated[float, Field(ge=0)] = 0.7,
) -> LookSAM:
    """LookSAM: SAM at every k-th step, between them g + alpha ||g|| g_v / ||g_v||  (Liu et al. 2022, algorithm 1).

    g_v is the part of SAM's gradient g' orthogonal to g, kept from the last SAM step. Wraps the base optimiser
    (default ``sgd``); cost: 1 + 1/k gradient evaluations an image. k 1 is SAM. The defaults for k and alpha are common
    ones of public implementations; the authors published no code that was read. Norms and projection run over all
    parameters as in the paper; pytorch-optimizer takes them tensor by tensor. Look-LayerSAM is not this.
    """
    return LookSAM(params, base, rho=rho, k=k, alpha=alpha, **base_params)
