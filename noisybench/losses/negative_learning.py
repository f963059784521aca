"""Negative learning in expectation."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import log_complement
from noisybench.registry import loss


@loss("negative_learning", cite="kim2019nlnl")
def negative_learning(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative learning, -1/(K - 1) sum_{k != y} log(1 - p_k)  (Kim et al. 2019, in expectation).

    Kim et al. draw complementary labels k != y uniformly and minimise -log(1 - p_k); this is its mean over the draw.
    The draws themselves, selective and positive learning (NLNL) are an algorithm. Differs from the authors' code, which
    also clamps 1 - p_k at 1e-5 and weighs samples by the inverse frequency of their labels.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    terms = log_complement(log_softmax(logits, dim=1))
    others = terms.scatter(1, labels.unsqueeze(1), 0.0)
    return -others.sum(dim=1) / (logits.shape[1] - 1)
