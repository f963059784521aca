"""Cross entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label
from noisybench.registry import loss


@loss("ce")
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, -log p_y.

    The baseline of the field; unbounded, so one wrong label can cost as much as a batch of right ones.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return -at_label(log_softmax(logits, dim=1), labels)
