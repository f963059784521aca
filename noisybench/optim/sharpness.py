"""SAM and ASAM as a suite names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from noisybench.optim.sam import SAM
from noisybench.optim.wrapper import Schedule
from noisybench.registry import optimizer

Radius = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
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
    convention: Literal["pytorch", "jax"] = "pytorch",
    m: Count | None = None,
    every: Count = 1,
    rho_schedule: Schedule = "constant",
    rho_end: Radius = 0.0,
    second_order: bool = False,
) -> SAM:
    """Sharpness-aware minimisation: descend with the gradient at w + rho g / ||g||  (Foret et al. 2021, eq. 2 and 3).

    Wraps the base optimiser (default ``sgd``); two forward-backward passes a step, three with ``second_order``, one in
    the steps that ``every`` leaves out. ``p``: norm of the ball, above 1 or ``inf``. ``convention: jax``: weight decay
    as an L2 term of the loss, in both gradients, and clipped with the rest, as the authors' code has it (with
    ``training.clip: 5.0`` and a ``nesterov`` base). ``m``: one perturbation for each micro-batch of m images (section
    4.1; the authors train at m = batch / devices). ``every: k``: perturb in every k-th step only. ``rho_schedule``:
    constant, linear, cosine or lr (as the learning rate), from rho to ``rho_end`` rho. ``second_order``: keep the
    Hessian term that the paper drops.
    Authors' settings: rho 0.05; under label noise (Table 4) rho 0.1, and 0.05 at 80 %.
    Differs from the authors' code in that a zero gradient is no perturbation (there 0/0), weight decay is by default
    applied by the base optimiser at w, and the training loss is that at w, not at w + e.
    """
    return SAM(
        params,
        base,
        rho=rho,
        p=_as_float(p),
        convention=convention,
        m=m,
        every=every,
        rho_schedule=rho_schedule,
        rho_end=rho_end,
        second_order=second_order,
        **base_params,
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
    convention: Literal["pytorch", "jax"] = "pytorch",
    m: Count | None = None,
    every: Count = 1,
    rho_schedule: Schedule = "constant",
    rho_end: Radius = 0.0,
) -> SAM:
    """Adaptive SAM: e = rho T^2 g / ||T g||, T = |w| + eta on weights, 1 on biases  (Kwon et al. 2021).

    Wraps the base optimiser (default ``sgd``); two forward-backward passes a step. ``biases: abs`` puts T = |w| + eta
    on all parameters (with ``eta: 0`` this is davda54/sam's ``adaptive=True``). The other parameters are those of
    ``sam``. Authors' defaults: rho 0.5, eta 0.01 on CIFAR-10 (their example runs eta 0). Differs from the authors' code
    in that batch-norm statistics move in the first pass only.
    """
    return SAM(
        params,
        base,
        rho=rho,
        p=_as_float(p),
        adaptive=True,
        eta=eta,
        biases=biases,
        convention=convention,
        m=m,
        every=every,
        rho_schedule=rho_schedule,
        rho_end=rho_end,
        **base_params,
    )
