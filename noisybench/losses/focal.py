"""Focal loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, log_complement
from noisybench.registry import loss

Gamma = Annotated[float, Field(ge=0)]
"""Exponent of the modulating factor."""


def modulating_factor(log_p: Tensor, gamma: float, detached: bool) -> Tensor:
    """``(1 - p_k)^gamma`` for every class, [B, K], as a constant when ``detached``."""
    return torch.exp(gamma * log_complement(log_p.detach() if detached else log_p))


@loss("focal", cite="lin2017focal")
def focal(logits: Tensor, labels: Tensor, *, gamma: Gamma = 0.5, detached: bool = True) -> Tensor:
    """Focal loss, -(1 - p_y)^gamma log p_y  (Lin et al. 2017).

    gamma = 0 is cross entropy. Default gamma as in the label-noise papers (Ma et al. 2020); Lin et al. use 2.
    The codes behind the label-noise tables treat the factor (1 - p_y)^gamma as a constant, the default here;
    ``detached: false`` is the gradient of the formula as written. The value is the same.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    return -at_label(modulating_factor(log_p, gamma, detached), labels) * at_label(log_p, labels)
