"""The inner problem of SAM: the step of length rho that increases the linearised loss most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ascent:
    """``direction``: argmax of <g, e> over ||e||_p <= 1, one tensor per gradient. ``norm``: ||g||_q, the value there.

    Both are zero if g is zero or not finite.
    """

    direction: list[Tensor]
    norm: Tensor


@torch.no_grad()
def steepest_ascent(gradients: Sequence[Tensor], p: float = 2.0) -> Ascent:
    """Solve the dual-norm problem  max <g, e>  s.t.  ||e||_p <= 1  (Foret et al. 2021, eq. 2), 1 < p <= inf.

    e = sign(g) |g|^(q-1) / (||g||_q^q)^(1/p), 1/p + 1/q = 1, one norm over all tensors; with n = ||g||_q this is
    sign(g) (|g| / n)^(q-1): g / ||g|| at p = 2, sign(g) at p = inf. g is divided by max |g| first, or its powers would
    underflow. Nothing waits for the device: zero and non-finite gradients are masked there.
    """
    if not p > 1:
        raise ValueError(f"p must be above 1, not {p}")
    gradients = list(gradients)
    if not gradients:
        return Ascent([], torch.zeros(()))
    q = 1.0 if p == math.inf else p / (p - 1)
    largest = torch.linalg.vector_norm(_stack(torch._foreach_norm(gradients, math.inf)), math.inf)
    usable = torch.isfinite(largest) & (largest > 0)
    scaled = torch._foreach_div(gradients, torch.where(usable, largest, torch.ones_like(largest)))
    norm = torch.linalg.vector_norm(_stack(torch._foreach_norm(scaled, q)), q)  # at least 1, as max |scaled| is 1
    norm = torch.where(usable, norm, torch.ones_like(norm))
    if p == 2:
        direction = list(torch._foreach_div(scaled, norm))
    else:
        direction = list(torch._foreach_sign(scaled))
        if q != 1:
            sizes = torch._foreach_div(torch._foreach_abs(scaled), norm)
            direction = list(torch._foreach_mul(direction, torch._foreach_pow(sizes, q - 1)))
    zero = torch.zeros((), device=largest.device)
    direction = [torch.where(usable, part, zero.to(part.dtype)) for part in direction]
    return Ascent(direction, torch.where(usable, largest * norm, torch.zeros_like(norm)))


def _stack(norms: Sequence[Tensor]) -> Tensor:
    """Norms of tensors as one vector, half types in float32."""
    dtype = torch.float64 if any(norm.dtype == torch.float64 for norm in norms) else torch.float32
    return torch.stack([norm.to(dtype) for norm in norms])
