"""Active negative losses: a normalised loss and its vertically flipped negative (Ye et al. 2023)."""

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
from noisybench.losses.normalized import normalized_cross_entropy, normalized_focal
from noisybench.registry import loss

LeastProbability = Annotated[float, Field(gt=0, le=1e-4)]
"""Probabilities below it count as it, without gradient: the largest loss is then finite."""


@loss("nnce", cite="ye2023anl")
def normalized_negative_cross_entropy(logits: Tensor, labels: Tensor, *, min_prob: LeastProbability = 1e-7) -> Tensor:
    """Normalised negative cross entropy, 1 - (A + log p_y) / sum_k (A + log p_k), A = -log min_prob  (Ye et al. 2023).

    Sums to K - 1 over the labels. That p >= min_prob is part of the definition (authors: 1e-7).
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    low = math.log(min_prob)
    terms = log_softmax(logits, dim=1).clamp(min=low) - low
    return 1 - at_label(terms, labels) / terms.sum(dim=1)


@loss("nnfl", cite="ye2023anl")
def normalized_negative_focal(
    logits: Tensor, labels: Tensor, *, gamma: Gamma = 0.5, min_prob: LeastProbability = 1e-7, detached: bool = True
) -> Tensor:
    """Normalised negative focal loss, 1 - (A - F_y) / sum_k (A - F_k), F = -(1 - p)^gamma log p  (Ye et al. 2023).

    A is F at p = min_prob, and p >= min_prob as in ``nnce``. The authors' code treats the factors (1 - p_k)^gamma as
    constants, the default here; ``detached: false`` is the gradient of the formula as written. The value is the same.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    low, high = math.log(min_prob), math.log1p(-min_prob)
    log_wrong = log_complement(log_p.detach() if detached else log_p)
    factor = torch.exp(gamma * torch.where(log_p < low, torch.full_like(log_wrong, high), log_wrong))
    terms = factor * log_p.clamp(min=low) - math.exp(gamma * high) * low
    return 1 - at_label(terms, labels) / terms.sum(dim=1)


@loss("anl_ce", cite="ye2023anl")
def active_negative_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: Weight = 5.0,
    beta: Weight = 5.0,
    min_prob: LeastProbability = 1e-7,
) -> Tensor:
    """Active negative loss with CE, alpha NCE + beta NNCE  (Ye et al. 2023, ANL-CE).

    Authors' weights: CIFAR-10 5 and 5, CIFAR-100 10 and 1. They also add delta ||w||_1 over all parameters (5e-5 on
    CIFAR-10) in place of weight decay, which is no function of the logits and not included.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    negative = normalized_negative_cross_entropy(logits, labels, min_prob=min_prob)
    return weighted(alpha, normalized_cross_entropy(logits, labels), beta, negative)


@loss("anl_fl", cite="ye2023anl")
def active_negative_focal(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: Weight = 5.0,
    beta: Weight = 5.0,
    gamma: Gamma = 0.5,
    min_prob: LeastProbability = 1e-7,
    detached: bool = True,
) -> Tensor:
    """Active negative loss with focal loss, alpha NFL + beta NNFL  (Ye et al. 2023, ANL-FL).

    Weights and what is not included as in ``anl_ce``; ``detached`` as in ``nfl``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    negative = normalized_negative_focal(logits, labels, gamma=gamma, min_prob=min_prob, detached=detached)
    return weighted(alpha, normalized_focal(logits, labels, gamma=gamma, detached=detached), beta, negative)
