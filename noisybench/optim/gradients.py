"""Arithmetic on lists of gradients, one a parameter, as one long vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisybench.optim.ascent import Ascent


@dataclass(frozen=True)
class Perturbed:
    """The parameters a step moves, their rho and weight decay, the gradient at w and the direction of the move."""

    weights: list[Tensor]
    rhos: Sequence[float | Tensor]  # scalars on the device where a step may be captured
    decays: list[float]
    gradients: list[Tensor]
    ascent: Ascent

    def scaled(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """rho times each tensor, every parameter by its group's rho."""
        numbers = [rho for rho in self.rhos if not isinstance(rho, Tensor)]
        if len(numbers) < len(self.rhos):
            return [tensor * rho for tensor, rho in zip(tensors, self.rhos, strict=True)]
        return list(torch._foreach_mul(list(tensors), numbers)) if tensors else []

    def at_peak(self) -> list[Tensor]:
        """The gradients that lie in ``.grad`` now; zero where a parameter has none."""
        return [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self.weights]


def inner(one: Sequence[Tensor], two: Sequence[Tensor]) -> Tensor:
    """<one, two> over all tensors, a scalar."""
    if not one:
        return torch.zeros(())
    return torch.stack([(a * b).sum() for a, b in zip(one, two, strict=True)]).sum()


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm over all tensors, a scalar."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))) if tensors else torch.zeros(())


def without_component(one: Sequence[Tensor], along: Sequence[Tensor]) -> list[Tensor]:
    """The part of ``one`` orthogonal to ``along``: one - <one, along> along / ||along||^2; ``one`` if along is zero."""
    length = norm(along)
    length = torch.where(length > 0, length, torch.ones_like(length))
    unit = [part / length for part in along]
    share = inner(one, unit)
    return [a - share * u for a, u in zip(one, unit, strict=True)]


def add_to_gradients(weights: Sequence[Tensor], terms: Sequence[Tensor]) -> None:
    """Add to ``.grad`` in place; what has none gets the term."""
    for weight, term in zip(weights, terms, strict=True):
        weight.grad = term.clone() if weight.grad is None else weight.grad.add_(term)


def taken(weights: Sequence[Tensor]) -> list[Tensor | None]:
    """Take the gradients out of ``.grad``."""
    gradients = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return gradients


def accumulated(
    total: Sequence[Tensor | None], gradients: Sequence[Tensor | None], share: float
) -> list[Tensor | None]:
    """total + share * gradients; a missing one counts as zero, an empty total as nothing yet."""
    if share != 1.0:
        gradients = [None if new is None else new * share for new in gradients]
    if not total:
        return list(gradients)
    return [
        new if old is None else old if new is None else old.add_(new) for old, new in zip(total, gradients, strict=True)
    ]
