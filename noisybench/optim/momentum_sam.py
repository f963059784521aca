"""Momentum-SAM: perturb along the momentum that is there already, at no second gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from noisybench.errors import ParameterError
from noisybench.optim.ascent import steepest_ascent
from noisybench.optim.gradients import Perturbed
from noisybench.optim.passes import restored
from noisybench.optim.sam import SAM
from noisybench.optim.wrapper import Closure, run
from noisybench.registry import optimizer


class MomentumSAM(SAM):
    """The gradient at w - rho v / ||v||, v the base's momentum buffer  (Becker et al. 2024). One pass a step.

    The first step has no momentum and no perturbation. Weight decay is an L2 term of the loss at the perturbed weights,
    as in the authors' code. The base must be SGD with momentum. The loss returned is that at the perturbed weights.
    """

    micro_batches = False
    passes = 1

    def __init__(self, params: Any, base_class: Callable[..., torch.optim.Optimizer], **options: Any) -> None:
        super().__init__(params, base_class, **options)
        if not isinstance(self.base, torch.optim.SGD):
            raise ParameterError("momentum-SAM perturbs along the momentum of sgd and wraps nothing else", key="base")
        if any(group["momentum"] == 0 for group in self.param_groups):
            raise ParameterError("momentum-SAM needs momentum above 0 in its base", key="base.momentum")
        self._moves: tuple[list[Tensor], list[Tensor]] = [], []

    def _sharp_gradient(self, closure: Closure, norms: Sequence[Any]) -> Any:
        move = self._along_momentum()
        with restored(move.weights):
            self._moves = self._climb(move), move.weights
            loss = run(closure)
        return loss

    def _step_base(self, sharp: bool) -> None:
        """Clip the gradient of the loss, then add decay (w + e) to it, in the authors' order."""
        assert self.base is not None
        self.clip()
        if sharp:
            self._add_decay(*self._moves)
        with self._base_without_decay() if sharp else contextlib.nullcontext():
            self.base.step()

    def _along_momentum(self) -> Perturbed:
        weights: list[Tensor] = []
        rhos: list[float] = []
        for group, rho in zip(self.param_groups, self.rhos(), strict=True):
            known = [w for w in group["params"] if self.state.get(w, {}).get("momentum_buffer") is not None]
            weights += known
            rhos += [rho] * len(known)
        down = [-self.state[weight]["momentum_buffer"] for weight in weights]
        return Perturbed(weights, rhos, [], down, steepest_ascent(down))


@optimizer("msam", cite="becker2024msam", wraps=True)
def momentum_sam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Annotated[float, Field(ge=0)] = 0.3,
) -> MomentumSAM:
    """Momentum-SAM: descend with the gradient at w - rho v / ||v||, v the momentum buffer  (Becker et al. 2024).

    Wraps ``sgd`` with momentum and nothing else; cost: one gradient evaluation an image. Weight decay acts at the
    perturbed weights, as in the authors' code; its default rho, 0.3. Differs from the authors' code in that one norm
    runs over all parameter groups and that batch-norm statistics, which move in the one, perturbed, pass, are not
    estimated anew after training. The training loss is that at the perturbed weights.
    """
    return MomentumSAM(params, base, rho=rho, **base_params)
