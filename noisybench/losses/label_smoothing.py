"""Label smoothing in the three forms in use."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label
from noisybench.registry import loss


def _entropy(target: float, other: float, others: int) -> float:
    """Entropy of a target with ``target`` on the label and ``other`` on each of ``others`` classes; 0 log 0 = 0."""
    return -sum(count * mass * math.log(mass) for mass, count in ((target, 1), (other, others)) if mass > 0)


@loss("label_smoothing", cite="lukasik2020ls")
def label_smoothing(
    logits: Tensor,
    labels: Tensor,
    *,
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    form: Literal["uniform", "offclass", "kl"] = "uniform",
) -> Tensor:
    """Cross entropy against softened labels t  (Szegedy et al. 2016, section 7; under label noise Lukasik et al. 2020).

    With s = smoothing and K classes:

    - ``uniform``: -sum_k t_k log p_k, t = (1 - s) onehot + s / K (torch's ``label_smoothing``, the papers' form);
    - ``offclass``: KL(t || p), t = 1 - s on the label and s / (K - 1) on each other class (davda54/sam's example);
    - ``kl``: KL(t || p) with the uniform form's t (GJS's code).

    A KL differs from the cross entropy of the same t by the constant entropy of t: same gradient, and 0 at p = t.
    ``offclass`` at s is ``uniform`` at s K / (K - 1). logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    others = logits.shape[1] - 1
    if form == "offclass":
        target, other = 1 - smoothing, smoothing / others
    else:
        other = smoothing / (others + 1)
        target = 1 - smoothing + other
    cross = -(target - other) * at_label(log_p, labels) - other * log_p.sum(dim=1)
    return cross if form == "uniform" else cross - _entropy(target, other, others)
