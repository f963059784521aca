"""Reverse (RCE) and symmetric cross entropy (SCE)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss

LogZero = Annotated[float, Field(lt=0)]
"""What stands for log 0 in the reverse cross entropy."""
LOG_ZERO = math.log(1e-4)
"""Of every published code; the papers quote -4 or -6."""


@loss("rce", cite="wang2019sce")
def reverse_cross_entropy(logits: Tensor, labels: Tensor, *, A: LogZero = LOG_ZERO) -> Tensor:
    """Reverse cross entropy, -sum_k p_k log onehot_k = -A (1 - p_y), with log 0 := A  (Wang et al. 2019).

    MAE times -A. The papers quote A = -4 or -6, every published code uses A = log 1e-4 = -9.21, the default here.
    Differs from published codes in that p is not clamped (at 1e-7 there).
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return -A * complement(at_label(log_softmax(logits, dim=1), labels))


@loss("sce", cite="wang2019sce")
def symmetric_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: Annotated[float, Field(ge=0)] = 0.1,
    beta: Annotated[float, Field(ge=0)] = 1.0,
    A: LogZero = LOG_ZERO,
) -> Tensor:
    """Symmetric cross entropy, alpha CE + beta RCE, RCE = -sum_k p_k log onehot_k  (Wang et al. 2019).

    With log 0 := A, RCE = -A (1 - p_y).  logits [B, K], labels [B] int64 -> per-sample loss [B].
    Authors' defaults: CIFAR-10 alpha 0.1, beta 1; CIFAR-100 alpha 6, beta 0.1. The papers quote A = -4 or -6, every
    published code uses A = log 1e-4 = -9.21, the default here. Differs from the authors' code in that p is not clamped.
    """
    log_p_y = at_label(log_softmax(logits, dim=1), labels)
    return -alpha * log_p_y - beta * A * complement(log_p_y)
