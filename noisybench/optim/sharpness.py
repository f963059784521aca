"""SAM and ASAM as a suite names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from noisybench.optim.sam import SAM
from noisybench.registry import optimizer

Radius = Annotated[float, Field(ge=0)]
Norm = Annotated[float, Field(gt=1)] | Literal["inf"]  # strict YAML refuses infinite numbers


def _as_float(p: float | Literal["inf"]) -> float:
    return math.inf if p == "inf" else float(p)


@optimizer("sam", cite="foret2021sam", wraps=True)
def sam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.05,
    p: Norm = 2.0,
    decay_in_ascent: bool = False,
    second_order: bool = False,
) -> SAM:
    """Sharpness-aware minimisation: descend with the gradient at w + rho g / ||g||  (Foret et al. 2021, eq. 2 and 3).

    Wraps the base optimiser (default ``sgd``); two forward-backward passes a step, three with ``second_order``.
    ``p``: norm of the ball, above 1 or ``inf``. ``decay_in_ascent``: weight decay as an L2 term of the loss, in both
    gradients, as the authors' code has it. ``second_order``: keep the Hessian term that the paper drops.
    Authors' settings: rho 0.05; under label noise (Table 4) rho 0.1, and 0.05 at 80 %.
    Differs from the authors' code in that a zero gradient is no perturbation (there 0/0), and weight decay is by
    default applied by the base optimiser at w.
    """
    return SAM(
        params, base, rho, p=_as_float(p), decay_in_ascent=decay_in_ascent, second_order=second_order, **base_params
    )


@optimizer("asam", cite="kwon2021asam", wraps=True)
def asam(
    params: Any,
    base: Callable[..., torch.optim.Optimizer],
    base_params: dict[str, Any],
    *,
    rho: Radius = 0.5,
    eta: Annotated[float, Field(ge=0)] = 0.01,
    p: Norm = 2.0,
    biases: Literal["one", "abs"] = "one",
    decay_in_ascent: bool = False,
) -> SAM:
    """Adaptive SAM: e = rho T^2 g / ||T g||, T = |w| + eta on weights, 1 on biases  (Kwon et al. 2021).

    Wraps the base optimiser (default ``sgd``); two forward-backward passes a step. ``biases: abs`` puts T = |w| + eta
    on all parameters (with ``eta: 0`` this is davda54/sam's ``adaptive=True``). Authors' defaults: rho 0.5, eta 0.01 on
    CIFAR-10 (their example runs eta 0). Differs from the authors' code in that batch-norm statistics move in the first
    pass only.
    """
    return SAM(
        params,
        base,
        rho,
        p=_as_float(p),
        adaptive=True,
        eta=eta,
        biases=biases,
        decay_in_ascent=decay_in_ascent,
        **base_params,
    )
