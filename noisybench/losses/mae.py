"""Mean absolute error (MAE)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.losses.log_space import at_label, complement
from noisybench.registry import loss


@loss("mae", cite="ma2020apl")
def mean_absolute_error(logits: Tensor, labels: Tensor, *, scale: Annotated[float, Field(gt=0)] = 1.0) -> Tensor:
    """Mean absolute error, scale (1 - p_y)  (Ghosh et al. 2017; the scale is that of Ma et al. 2020).

    The distance sum_k |onehot_k - p_k| is 2 (1 - p_y): ``scale: 2`` is the full form of Ghosh et al. and of Zhou et al.
    2021, the default 1 the half form, which is also GCE at q = 1. The scale multiplies the gradient and so acts like a
    learning rate. Robust to symmetric noise at any rate below 1 - 1/K; slow to train with many classes.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return scale * complement(at_label(log_softmax(logits, dim=1), labels))
