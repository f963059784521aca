"""ESAM: SAM that moves some of the weights and trains on the images whose loss rises most."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from noisybench.optim.passes import Draws, restored, still_statistics
from noisybench.optim.sam import SAM
from noisybench.optim.sharpness import Radius
from noisybench.optim.wrapper import Closure, run
from noisybench.registry import optimizer

Share = Annotated[float, Field(gt=0, le=1)]


class EfficientSAM(SAM):
    """ESAM  (Du et al. 2022, algorithm 1): stochastic weight perturbation, sharpness-sensitive data selection.

    Every parameter tensor takes part in the perturbation with probability ``beta``; e = (rho / beta) g / ||g||, the
    norm over those. Then the loss of every image is taken at w + e, without a gradient, and the base gets the mean
    gradient at w + e of the ``gamma`` B images whose loss rose most. The closure must accept ``per_image=True``
    (backward, then losses ``[B]``, detached), with ``backward=False`` too (losses alone), and ``rows=`` int64 ``[b]``
    (those images only).
    """

    micro_batches = False
    capturable = False  # draws which tensors take part

    def __init__(
        self,
        params: Any,
        base_class: Callable[..., torch.optim.Optimizer],
        *,
        beta: float = 0.6,
        gamma: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(params, base_class, **options)
        self.beta, self.gamma = beta, gamma

    def rhos(self) -> list[float]:
        """The radius of each parameter group, over ``beta``."""
        return [rho / self.beta for rho in super().rhos()]

    def _ascent_gradient(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        return [g if w in self._chosen else torch.zeros_like(g) for w, g in zip(weights, gradients, strict=True)]

    def _sharp_gradient(self, closure: Closure, norms: Sequence[Any]) -> Any:
        _check_closure(closure)
        weights = self.weights()
        # torch's own generator, as for dropout: the trainer seeds it at the start of every epoch
        drawn = (torch.rand(len(weights)) < self.beta).tolist()
        self._chosen = {weight for weight, taking_part in zip(weights, drawn, strict=True) if taking_part}
        draws = Draws(weights)
        before = run(lambda: closure(per_image=True))
        move = self._perturbation()
        with still_statistics(norms), restored(move.weights):
            self._climb(move)
            with draws.repeated():
                rise = run(lambda: closure(per_image=True, backward=False)) - before
            rows = rise.topk(max(1, int(len(rise) * self.gamma))).indices.sort().values
            run(lambda: closure(rows=rows))
        return before.mean()


def _check_closure(closure: Closure) -> None:
    names = {item.name for item in inspect.signature(closure).parameters.values()}
    if not {"rows", "per_image", "backward"} <= names:
        raise TypeError(
            "ESAM needs a closure(*, rows=None, per_image=False, backward=True) that can give losses image by image "
            "and train on some of them; this one, or this algorithm's, takes "
            + (", ".join(sorted(names)) or "no parameters")
        )


@optimizer("esam", cite="du2022esam", wraps=True)
def efficient_sam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.05,
    beta: Share = 0.6,
    gamma: Share = 0.5,
) -> EfficientSAM:
    """ESAM: move a share beta of the weights, descend on the share gamma of images that got worst  (Du et al. 2022).

    e = (rho / beta) g / ||g|| over the parameter tensors drawn (each with probability beta); the base gets the gradient
    at w + e of the gamma B images with the largest rise in loss. Wraps the base optimiser (default ``sgd``); cost:
    1 + gamma gradient evaluations an image, and one forward pass. ``beta: 1, gamma: 1`` is SAM. Algorithm ``erm`` only.
    Authors' settings on CIFAR: rho 0.05, beta 0.6, gamma 0.5. Differs from the authors' code in that batch-norm
    statistics move in the first pass only, in that tensors are drawn in the first step too, in that exactly
    floor(gamma B) images are taken (there one fewer), and in that gradients that are not used are still computed.
    """
    return EfficientSAM(params, base, rho=rho, beta=beta, gamma=gamma, **base_params)
