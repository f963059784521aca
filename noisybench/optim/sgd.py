"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from noisybench.errors import ParameterError
from noisybench.registry import optimizer


@optimizer("sgd")
def sgd(
    params: Any,
    *,
    lr: Annotated[float, Field(ge=0)] = 0.1,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, Field(ge=0)] = 0.0,
    nesterov: bool = False,
    dampening: Annotated[float, Field(ge=0, le=1)] = 0.0,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum, as torch has it.

    g <- g + weight_decay w;  v <- momentum v + (1 - dampening) g (first step: v = g);  w <- w - lr v, or with nesterov
    w <- w - lr (g + momentum v). Weight decay acts on every parameter, batch norm and biases included. The usual
    settings of the label-noise literature on CIFAR-10: lr 0.1 (or 0.02, 0.01), momentum 0.9, weight_decay 5e-4 or 1e-4.
    """
    if nesterov and (momentum == 0 or dampening != 0):
        raise ParameterError("needs momentum above 0 and dampening 0", key="nesterov")
    return torch.optim.SGD(
        params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, dampening=dampening
    )
