"""Normalised losses: a loss over its sum over all labels, so that it is symmetric by construction (Ma et al. 2020).

Each sums to one over the labels, and so the expected loss under symmetric noise of a rate below 1 - 1/K is the clean
loss, scaled and shifted.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.focal import Gamma, modulating_factor
from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss


@loss("nce", cite="ma2020apl")
def normalized_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Normalised cross entropy, log p_y / sum_k log p_k  (Ma et al. 2020).

    Between 0 and 1; an active loss, trained together with a passive one.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    return at_label(log_p, labels) / log_p.sum(dim=1)


@loss("nfl", cite="ma2020apl")
def normalized_focal(logits: Tensor, labels: Tensor, *, gamma: Gamma = 0.5, detached: bool = True) -> Tensor:
    """Normalised focal loss, (1 - p_y)^gamma log p_y / sum_k (1 - p_k)^gamma log p_k  (Ma et al. 2020).

    Authors' default: gamma = 0.5. The authors' code treats the factors (1 - p_k)^gamma as constants in numerator and
    denominator, the default here; ``detached: false`` is the gradient of the formula as written. The value is the same.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p = log_softmax(logits, dim=1)
    terms = modulating_factor(log_p, gamma, detached) * log_p
    return at_label(terms, labels) / terms.sum(dim=1)


@loss("ngce", cite="ma2020apl")
def normalized_generalized_cross_entropy(
    logits: Tensor, labels: Tensor, *, q: Annotated[float, Field(gt=0, le=1)] = 0.7
) -> Tensor:
    """Normalised generalized cross entropy, (1 - p_y^q) / (K - sum_k p_k^q)  (Ma et al. 2020).

    q -> 0 is NCE, q = 1 is NMAE. Authors' q: 0.7, and 0.1 in their pairs with MAE and RCE.
    Differs from the authors' code in that p is not clamped (at 1e-7 there).
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    terms = torch.expm1(q * log_softmax(logits, dim=1))
    return at_label(terms, labels) / terms.sum(dim=1)


@loss("nmae", cite="ma2020apl")
def normalized_mean_absolute_error(
    logits: Tensor, labels: Tensor, *, scale: Annotated[float, Field(gt=0)] = 1.0
) -> Tensor:
    """Normalised mean absolute error, scale (1 - p_y) / (K - 1)  (Ma et al. 2020).

    Sums to ``scale`` over the labels. Differs from the authors' code, which divides the half form 1 - p_y by the sum of
    the full one, 2 (K - 1): ``scale: 0.5``. Zhou et al. 2021 have the form here.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return scale * complement(at_label(log_softmax(logits, dim=1), labels)) / (logits.shape[1] - 1)


@loss("nrce", cite="ma2020apl")
def normalized_reverse_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Normalised reverse cross entropy, RCE / sum over labels = (1 - p_y) / (K - 1)  (Ma et al. 2020).

    The value of log 0 cancels, which makes it NMAE. Differs from the authors' code, whose factor (K - 1) / 4 in place
    of 1 / (|A| (K - 1)) is a slip of operator precedence and is not reproduced.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return complement(at_label(log_softmax(logits, dim=1), labels)) / (logits.shape[1] - 1)
