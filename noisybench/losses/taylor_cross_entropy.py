"""Taylor cross entropy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss


@loss("taylor_ce", cite="feng2020taylor")
def taylor_cross_entropy(logits: Tensor, labels: Tensor, *, t: Annotated[int, Field(ge=1)] = 2) -> Tensor:
    """Taylor cross entropy, sum_{i=1..t} (1 - p_y)^i / i  (Feng et al. 2020).

    The first t terms of the series of -log p_y around p_y = 1: t = 1 is MAE, t -> infinity is cross entropy.
    No authors' code was found; t = 2 is our default. logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    wrong = complement(at_label(log_softmax(logits, dim=1), labels))
    series = wrong / t
    for i in range(t - 1, 0, -1):  # Horner
        series = wrong * (series + 1 / i)
    return series
