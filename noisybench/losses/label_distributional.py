"""Label-distributionally robust loss with KL regularisation (LDR-KL)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from noisybench.losses.log_space import at_label
from noisybench.registry import loss

SERIES_BELOW = -15.0
"""Where softplus(x) = exp(x) - exp(2x)/2 + ... ends after two terms to float64 precision."""


def log_softplus(x: Tensor) -> Tensor:
    """``log log(1 + exp x)``, finite with a finite gradient also where softplus rounds to zero."""
    low = x < SERIES_BELOW
    return torch.where(low, x - torch.exp(x.clamp(max=0.0)) / 2, torch.log(softplus(x.masked_fill(low, 0.0))))


@loss("ldr_kl", cite="zhu2023ldr", signed=True, absolute_logits=True)
def label_distributionally_robust(
    logits: Tensor,
    labels: Tensor,
    *,
    margin: Annotated[float, Field(ge=0)] = 0.1,
    lambda_: Annotated[float, Field(gt=0)] = 1.0,
) -> Tensor:
    """LDR-KL, lambda log mean_k exp((margin [k != y] + s_k - s_y) / lambda)  (Zhu et al. 2023).

    The scores s are the softplus of the logits, divided by their mean over the classes, as in the authors' code. So
    this loss, unlike the others, depends on a shift of the logits; it can be negative. Defaults of the authors' code;
    Wang et al. 2024 take lambda 10 on CIFAR-10 and 1 on CIFAR-100. The adaptive form (ALDR-KL) keeps a lambda for every
    sample and is an algorithm. logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    classes = logits.shape[1]
    scores = classes * torch.softmax(log_softplus(logits), dim=1)
    margins = torch.full_like(scores, margin).scatter(1, labels.unsqueeze(1), 0.0)
    gaps = margins + scores - at_label(scores, labels).unsqueeze(1)
    return lambda_ * (torch.logsumexp(gaps / lambda_, dim=1) - math.log(classes))
