"""LogitClip: the norm of the logits is bounded before any loss."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from noisybench.losses.part import Part, apply_part
from noisybench.registry import loss as register_loss


@register_loss("logit_clip", cite="wei2023logitclip", absolute_logits=True)
def logit_clip(
    logits: Tensor,
    labels: Tensor,
    *,
    loss: Part = "ce",
    tau: Annotated[float, Field(gt=0)] = 1.0,
    p: Annotated[float, Field(ge=1)] = 2.0,
    form: Literal["code", "paper"] = "code",
) -> Tensor:
    """LogitClip, loss(z tau / ||z||_p) where ||z||_p is large, loss(z) elsewhere  (Wei et al. 2023).

    ``paper``: logits longer than tau are scaled to length tau. ``code``, the default: logits longer than 1 / tau are,
    as in the code that made the published numbers (its ``--temp`` is 1 / tau; with tau = 1 the two agree, otherwise the
    length jumps at the bound). Wang et al. 2024 on CIFAR-10: tau 1 below 50 % symmetric noise, 1.5 above, 2.5 for
    asymmetric noise. ``loss`` is any registered loss. Depends on a shift of the logits. Differs from the authors' code,
    which adds 1e-7 to the norm. logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    bound = tau if form == "paper" else 1 / tau
    norm = torch.linalg.vector_norm(logits, ord=p, dim=1, keepdim=True)
    scale = torch.where(norm > bound, tau / norm.clamp(min=bound), torch.ones_like(norm))
    return apply_part(loss, scale * logits, labels)
