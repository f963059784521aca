"""Probabilities kept as logarithms, so that no loss needs a clamp.

``p_y`` underflows in float32 once the logits differ by 104; ``log p_y`` does not, and its gradient is ``onehot - p``
everywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def at_label(log_p: Tensor, labels: Tensor) -> Tensor:
    """Entry of each row at its label: log_p [B, K], labels [B] int64 -> [B]."""
    return log_p.gather(1, labels.unsqueeze(1)).squeeze(1)


def complement(log_p: Tensor) -> Tensor:
    """``1 - p`` from ``log p`` without cancellation near p = 1."""
    return -torch.expm1(log_p)


def log_complement(log_p: Tensor) -> Tensor:
    """``log(1 - p_k)`` for every class, finite with a finite gradient also where ``p_k`` rounds to 1: [B, K] -> [B, K].

    Only the most probable class can have p > 1/2: its complement is the sum of the others.
    """
    is_top = torch.zeros_like(log_p, dtype=torch.bool).scatter(1, log_p.argmax(1, keepdim=True), True)
    others = log_p.masked_fill(is_top, -math.inf)
    return torch.where(is_top, torch.logsumexp(others, 1, keepdim=True), torch.log1p(-torch.exp(others)))
