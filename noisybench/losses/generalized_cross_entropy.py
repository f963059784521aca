"""Generalized cross entropy (GCE)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label
from noisybench.registry import loss


@loss("gce", cite="zhang2018gce")
def generalized_cross_entropy(
    logits: Tensor, labels: Tensor, *, q: Annotated[float, Field(gt=0, le=1)] = 0.7
) -> Tensor:
    """Generalized cross entropy, (1 - p_y^q) / q  (Zhang & Sabuncu 2018, eq. 6).

    q -> 0 is cross entropy, q = 1 is MAE.  logits [B, K], labels [B] int64 -> per-sample loss [B].
    Authors' default: q = 0.7. Differs from published codes, which clamp or shift p_y (1e-7, 1e-9): here the power is
    taken in log space, so the gradient at p_y -> 0 is the formula's.
    """
    log_p_y = at_label(log_softmax(logits, dim=1), labels)
    return -torch.expm1(q * log_p_y) / q
