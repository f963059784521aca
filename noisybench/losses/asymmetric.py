"""Asymmetric losses: AGCE, AUL and AEL (Zhou et al. 2021)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss

Positive = Annotated[float, Field(gt=0)]
AboveOne = Annotated[float, Field(gt=1)]


@loss("agce", cite="zhou2021alf")
def asymmetric_generalized_cross_entropy(
    logits: Tensor, labels: Tensor, *, a: Positive = 0.6, q: Positive = 0.6
) -> Tensor:
    """Asymmetric generalized cross entropy, ((a + 1)^q - (a + p_y)^q) / q  (Zhou et al. 2021).

    Authors' defaults: CIFAR-10 a 0.6, q 0.6; MNIST a 4, q 0.2; with NCE on CIFAR-10 a 6, q 1.5.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    wrong = complement(at_label(log_softmax(logits, dim=1), labels))
    return -math.pow(a + 1, q) * torch.expm1(q * torch.log1p(-wrong / (a + 1))) / q


@loss("aul", cite="zhou2021alf")
def asymmetric_unhinged(logits: Tensor, labels: Tensor, *, a: AboveOne = 5.5, q: Positive = 3.0) -> Tensor:
    """Asymmetric unhinged loss, ((a - p_y)^q - (a - 1)^q) / q  (Zhou et al. 2021).

    q = 1 is 1 - p_y. Authors' defaults: CIFAR-10 a 5.5, q 3; MNIST a 3, q 0.1; with NCE on CIFAR-10 a 6.3, q 1.5.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    wrong = complement(at_label(log_softmax(logits, dim=1), labels))
    return math.pow(a - 1, q) * torch.expm1(q * torch.log1p(wrong / (a - 1))) / q


@loss("ael", cite="zhou2021alf")
def asymmetric_exponential(logits: Tensor, labels: Tensor, *, a: Positive = 2.5) -> Tensor:
    """Asymmetric exponential loss, exp(-p_y / a)  (Zhou et al. 2021).

    At p_y = 1 it is exp(-1 / a), not zero. Authors' defaults: CIFAR-10 a 2.5; MNIST a 3.5; with NCE on CIFAR-10 a 5.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return torch.exp(-torch.exp(at_label(log_softmax(logits, dim=1), labels)) / a)
