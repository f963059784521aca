"""Epsilon-softmax: predictions pushed to one-hot vectors before the loss (Wang et al. 2024)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.active_passive import Weight, weighted
from noisybench.losses.focal import Gamma
from noisybench.losses.log_space import at_label, log_complement
from noisybench.losses.mae import mean_absolute_error
from noisybench.registry import loss

Peak = Annotated[float, Field(ge=0)]
"""What is added to the largest probability before all are divided by m + 1."""
Floor = Annotated[float, Field(ge=0, lt=1e-3)]
"""Least probability; below it there is no gradient. 0: none, the formula as written."""


def peaked(log_p: Tensor, labels: Tensor, m: float, floor: float) -> tuple[Tensor, Tensor]:
    """``log pt_y`` and ``log (1 - pt_y)`` of ``pt = (p + m onehot_argmax) / (m + 1)``: [B, K], [B] -> [B], [B]."""
    log_p_y, log_wrong = at_label(log_p, labels), at_label(log_complement(log_p), labels)
    is_top = log_p.argmax(dim=1) == labels
    shrink = math.log1p(m)
    below = log_p_y.masked_fill(is_top, -math.inf) - shrink  # masked where the other branch is taken: no 0 x inf
    wrong = torch.exp(log_wrong).masked_fill(~is_top, 0.0)
    log_pt = torch.where(is_top, torch.log1p(-wrong / (m + 1)), log_p_y - shrink)
    log_rest = torch.where(is_top, log_wrong - shrink, torch.log1p(-torch.exp(below)))
    if floor > 0:
        low = math.log(floor)
        log_rest = torch.where(log_pt < low, torch.full_like(log_rest, math.log1p(-floor)), log_rest)
        log_pt = log_pt.clamp(min=low)
    return log_pt, log_rest


@loss("eps_ce", cite="wang2024epssoftmax")
def epsilon_cross_entropy(logits: Tensor, labels: Tensor, *, m: Peak = 1e5, floor: Floor = 1e-8) -> Tensor:
    """Cross entropy of epsilon-softmax, -log pt_y, pt = (p + m onehot_argmax) / (m + 1)  (Wang et al. 2024).

    m = 0 without floor is cross entropy. Authors' m: CIFAR-10 1e5 (symmetric), 1e3 (asymmetric); CIFAR-100 1e4, 1e2.
    The authors' code, which made their tables, does not let pt_y fall below 1e-8: at m = 1e5 a sample with p_y < 1e-3
    that is not the prediction has no gradient. That is the default; ``floor: 0`` is the formula as written.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return -peaked(log_softmax(logits, dim=1), labels, m, floor)[0]


@loss("eps_focal", cite="wang2024epssoftmax")
def epsilon_focal(
    logits: Tensor, labels: Tensor, *, m: Peak = 1e5, gamma: Gamma = 0.1, floor: Floor = 1e-8, detached: bool = True
) -> Tensor:
    """Focal loss of epsilon-softmax, -(1 - pt_y)^gamma log pt_y  (Wang et al. 2024).

    pt, m and floor as in ``eps_ce``; the factor is a constant by default as in the authors' code (see ``focal``).
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_pt, log_rest = peaked(log_softmax(logits, dim=1), labels, m, floor)
    return -torch.exp(gamma * (log_rest.detach() if detached else log_rest)) * log_pt


@loss("eps_ce_mae", cite="wang2024epssoftmax")
def epsilon_cross_entropy_mae(
    logits: Tensor, labels: Tensor, *, alpha: Weight = 0.01, beta: Weight = 5.0, m: Peak = 1e5, floor: Floor = 1e-8
) -> Tensor:
    """Epsilon-softmax CE + MAE, alpha (-log pt_y) + 2 beta (1 - p_y)  (Wang et al. 2024, CE_eps + MAE).

    MAE in its full form and of the plain softmax p. Authors' alpha, beta, m on CIFAR-10: symmetric 0.01, 5, 1e5;
    asymmetric 0.02, 5, 1e3; instance-dependent 0.045, 10, 1e5. Floor as in ``eps_ce``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    active = epsilon_cross_entropy(logits, labels, m=m, floor=floor)
    return weighted(alpha, active, beta, mean_absolute_error(logits, labels, scale=2.0))


@loss("eps_focal_mae", cite="wang2024epssoftmax")
def epsilon_focal_mae(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: Weight = 0.01,
    beta: Weight = 5.0,
    m: Peak = 1e5,
    gamma: Gamma = 0.1,
    floor: Floor = 1e-8,
    detached: bool = True,
) -> Tensor:
    """Epsilon-softmax focal + MAE, alpha FL(pt_y) + 2 beta (1 - p_y)  (Wang et al. 2024, FL_eps + MAE).

    Weights and m as in ``eps_ce_mae``, focal loss as in ``eps_focal``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    active = epsilon_focal(logits, labels, m=m, gamma=gamma, floor=floor, detached=detached)
    return weighted(alpha, active, beta, mean_absolute_error(logits, labels, scale=2.0))
