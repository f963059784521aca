"""Bootstrapping, soft and hard: the label mixed with the network's own prediction (Reed et al. 2015)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label
from noisybench.registry import loss

Share = Annotated[float, Field(ge=0, le=1)]
"""Weight of the label; the prediction has the rest."""


@loss("bootstrap_soft", cite="reed2015bootstrap")
def soft_bootstrapping(logits: Tensor, labels: Tensor, *, beta: Share = 0.95, detached: bool = False) -> Tensor:
    """Soft bootstrapping, -sum_k (beta onehot_k + (1 - beta) p_k) log p_k  (Reed et al. 2015).

    Authors' default: beta = 0.95. Gradient through the p_k of the target, as in the codes of Patrini et al. 2017 and
    Englesson & Azizpour 2021, is the default; ``detached: true`` treats it as a constant. The value is the same.
    Differs from those codes, which clip p at 1e-7. Not the "Bootstrap" of Foret et al. 2021, which retrains on
    predicted labels (``relabel``). logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    target = torch.exp(log_p.detach() if detached else log_p)
    return -beta * at_label(log_p, labels) - (1 - beta) * (target * log_p).sum(dim=1)


@loss("bootstrap_hard", cite="reed2015bootstrap")
def hard_bootstrapping(logits: Tensor, labels: Tensor, *, beta: Share = 0.8) -> Tensor:
    """Hard bootstrapping, -beta log p_y - (1 - beta) log p_c, c = argmax p  (Reed et al. 2015).

    Authors' default: beta = 0.8. The target is piecewise constant, so there is nothing to detach.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    return -beta * at_label(log_p, labels) - (1 - beta) * at_label(log_p, log_p.argmax(dim=1))
