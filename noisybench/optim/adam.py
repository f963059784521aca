"""Adam and AdamW."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from noisybench.registry import optimizer

Decay = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


@optimizer("adam")
def adam(
    params: Any,
    *,
    lr: Annotated[float, Field(ge=0)] = 0.001,
    beta1: Beta = 0.9,
    beta2: Beta = 0.999,
    eps: Annotated[float, Field(gt=0)] = 1e-8,
    weight_decay: Decay = 0.0,
    amsgrad: bool = False,
) -> torch.optim.Adam:
    """Adam, as torch has it  (Kingma & Ba 2015, algorithm 1; amsgrad Reddi et al. 2018).

    Weight decay is an L2 term of the gradient and so is scaled with it; ``adamw`` keeps it apart. Authors' defaults:
    lr 0.001, beta1 0.9, beta2 0.999, eps 1e-8.
    """
    return torch.optim.Adam(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


@optimizer("adamw")
def adamw(
    params: Any,
    *,
    lr: Annotated[float, Field(ge=0)] = 0.001,
    beta1: Beta = 0.9,
    beta2: Beta = 0.999,
    eps: Annotated[float, Field(gt=0)] = 1e-8,
    weight_decay: Decay = 0.01,
    amsgrad: bool = False,
) -> torch.optim.AdamW:
    """AdamW, as torch has it: w <- w - lr weight_decay w, then Adam  (Loshchilov & Hutter 2019, algorithm 2).

    Differs from the paper, as torch does, in that the decay is multiplied by the learning rate.
    """
    return torch.optim.AdamW(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
