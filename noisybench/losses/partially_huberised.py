"""Partially Huberised losses: linear in p_y where its gradient would exceed tau (Menon et al. 2020)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label
from noisybench.registry import loss

Tau = Annotated[float, Field(gt=1)]
"""Largest slope |dL / dp_y|."""


@loss("phuber_ce", cite="menon2020phuber")
def partially_huberised_cross_entropy(logits: Tensor, labels: Tensor, *, tau: Tau = 10.0) -> Tensor:
    """Partially Huberised cross entropy, -log p_y, but 1 + log tau - tau p_y where p_y <= 1 / tau  (Menon et al. 2020).

    Continuous with its slope at p_y = 1 / tau. tau as in dmizr/phuber: 10 by default, 2 in its CIFAR-10 runs.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p_y = at_label(log_softmax(logits, dim=1), labels)
    linear = 1 + math.log(tau) - tau * torch.exp(log_p_y)
    return torch.where(log_p_y <= -math.log(tau), linear, -log_p_y)


@loss("phuber_gce", cite="menon2020phuber")
def partially_huberised_generalized_cross_entropy(
    logits: Tensor, labels: Tensor, *, q: Annotated[float, Field(gt=0, lt=1)] = 0.7, tau: Tau = 10.0
) -> Tensor:
    """Partially Huberised GCE, (1 - p_y^q) / q, but linear in p_y below c = tau^(1 / (q - 1))  (Menon et al. 2020).

    The linear part is (1 - (1 - q) c^q) / q - tau p_y: continuous with its slope -tau at p_y = c.
    Defaults as in dmizr/phuber. Differs from that code, which adds 1e-9 to p_y.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p_y = at_label(log_softmax(logits, dim=1), labels)
    log_c = math.log(tau) / (q - 1)
    linear = (1 - (1 - q) * math.exp(q * log_c)) / q - tau * torch.exp(log_p_y)
    return torch.where(log_p_y <= log_c, linear, -torch.expm1(q * log_p_y) / q)
