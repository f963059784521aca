"""Unhinged loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss


@loss("unhinged", cite="vanrooyen2015unhinged")
def unhinged(logits: Tensor, labels: Tensor) -> Tensor:
    """Unhinged loss on probabilities, 1 - p_y  (van Rooyen et al. 2015, for two classes and unbounded scores).

    With softmax probabilities, as in the codes that compare with it (Menon et al. 2020), it is MAE in its half form.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return complement(at_label(log_softmax(logits, dim=1), labels))
