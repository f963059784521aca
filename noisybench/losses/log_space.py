"""Probabilities kept as logarithms, so that no loss needs a clamp.

``p_y`` underflows in float32 once the logits differ by 104; ``log p_y`` does not, and its gradient is ``onehot - p``
everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_label(log_p: Tensor, labels: Tensor) -> Tensor:
    """Entry of each row at its label: log_p [B, K], labels [B] int64 -> [B]."""
    return log_p.gather(1, labels.unsqueeze(1)).squeeze(1)


def complement(log_p: Tensor) -> Tensor:
    """``1 - p`` from ``log p`` without cancellation near p = 1."""
    return -torch.expm1(log_p)
