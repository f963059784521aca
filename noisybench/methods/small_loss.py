"""Small-loss selection: how many, which, and what two networks learn from them (Co-teaching, Co-teaching+, JoCoR)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def forget_rate_at(epoch: int, rate: float, gradual: int, exponent: float = 1.0) -> float:
    """R(e), the share of a batch to leave out in epoch e (0-based): from 0 to R^c over ``gradual`` epochs, then R.

    R(e) = R^c e / (Tk - 1) for e < Tk, as the authors' code has it (Han et al. 2018; numpy's linspace); with an
    exponent c other than 1 it jumps from R^c to R at Tk.
    """
    if epoch >= gradual:
        return rate
    return float(rate**exponent) * epoch / (gradual - 1) if gradual > 1 else 0.0


def keep_count(forget_rate: float, size: int) -> int:
    """How many of ``size`` to keep: floor((1 - R) size), at least one unless there is none.

    Differs from the authors' code, where (1 - .9) 10 is 0 in floating point and a count of 0 gives NaN.
    """
    return min(size, max(1, math.floor((1 - forget_rate) * size + 1e-9)))


def keep_counts(forget_rate: float, largest: int) -> Tensor:
    """``keep_count`` for every size from 0 to ``largest``, int64 ``[largest + 1]``."""
    return torch.tensor([keep_count(forget_rate, size) for size in range(largest + 1)])


def smallest(losses: Tensor, count: Tensor | int, among: Tensor | None = None) -> Tensor:
    """bool ``[B]``: the ``count`` smallest losses ``[B]``, of those in ``among`` (bool ``[B]``), ties by position.

    ``count`` may be a scalar on the device; it must not exceed the size of ``among``.
    """
    losses = losses.detach()
    if among is not None:
        losses = torch.where(among, losses, torch.inf)
    order = losses.argsort(stable=True)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return ranks < count


def mean_over(chosen: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights ``[B]`` that make the mean over a batch the mean over the chosen (bool ``[B]``); 0 if there are none."""
    weights = chosen.to(dtype)
    return weights * (len(weights) / weights.sum().clamp(min=1))


def exchange(one: Tensor, two: Tensor, counts: Tensor, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Co-teaching's exchange: what networks one and two are to learn, from their losses ``[B]``, bool ``[B]`` each.

    Each learns the samples of ``among`` (default: all) that are smallest to the *other*; ``counts`` is the table of
    ``keep_counts``, looked up at the number of samples there are.
    """
    # index_select, because indexing with a scalar on the device would wait for it
    count = counts[len(one)] if among is None else counts.index_select(0, among.sum().unsqueeze(0))
    return smallest(two, count, among), smallest(one, count, among)


def joint_losses(
    logits: tuple[Tensor, Tensor], labels: Tensor, co_lambda: float, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """JoCoR's loss per sample ``[B]``: (1 - l) (l_1 + l_2) + l (KL(p1 || p2) + KL(p2 || p1))  (Wei et al. 2020)."""
    one, two = (functional.log_softmax(z, dim=1) for z in logits)
    divergence = ((one.exp() - two.exp()) * (one - two)).sum(dim=1)  # both directions in one sum
    return (1 - co_lambda) * (loss(logits[0], labels) + loss(logits[1], labels)) + co_lambda * divergence
