"""Jensen-Shannon divergence between label and prediction."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss


@loss("js", cite="englesson2021gjs")
def jensen_shannon(
    logits: Tensor, labels: Tensor, *, pi: Annotated[float, Field(gt=0, lt=1)] = 0.5, scaled: bool = True
) -> Tensor:
    """Jensen-Shannon loss, pi KL(e_y || m) + (1 - pi) KL(p || m), m = pi e_y + (1 - pi) p  (Englesson & Azizpour 2021).

    ``scaled`` divides by -(1 - pi) log(1 - pi), as all the authors' CIFAR runs do: then pi -> 0 is cross entropy and
    pi -> 1 is MAE (1 - p_y). Authors' pi for CIFAR-10: symmetric noise 0, 20, 40, 60, 80 %: 0.1, 0.7, 0.7, 0.9, 0.9;
    asymmetric 0.3. Here 0.5. Differs from the authors' code, which clamps the arguments of logarithms at 1e-7.
    The generalised form takes two views of an image and is an algorithm.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    log_p_y = at_label(log_softmax(logits, dim=1), labels)
    p_y, wrong = torch.exp(log_p_y), complement(log_p_y)
    log_m_y = torch.log1p(-(1 - pi) * wrong)  # for the other classes m_k = (1 - pi) p_k, so p_k / m_k is a constant
    log_rest = math.log1p(-pi)
    divergence = -pi * log_m_y + (1 - pi) * (p_y * (log_p_y - log_m_y) - wrong * log_rest)
    return divergence / (-(1 - pi) * log_rest) if scaled else divergence
