"""The mean loss of a network on some images as a function of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from noisybench.optim.curvature import hessian_product
from noisybench.optim.passes import restored

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, K], labels [B]) -> losses [B]."""


class Objective:
    """L(w) = 1/N sum_i l(f_w(x_i), y_i) with its gradient and Hessian, over all N images at once.

    The network is in eval mode throughout: batch norm uses its running statistics, dropout is off, so that L is one
    function of the weights. Images go through in chunks; sums over chunks are exact up to rounding. Weights are moved
    in place and always put back exactly.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, loss: Loss, chunk: int = 1000) -> None:
        self.model, self.images, self.labels, self.loss = model.eval(), images, labels, loss
        self.chunk = chunk
        self.weights: list[Tensor] = [weight for weight in model.parameters() if weight.requires_grad]

    def value(self) -> float:
        """L at the weights as they are."""
        with torch.no_grad():
            return float(torch.stack([part.double() for part in self._parts()]).sum())

    def value_at(self, direction: Sequence[Tensor], scale: float = 1.0) -> float:
        """L(w + scale direction)."""
        with torch.no_grad(), restored(self.weights):
            torch._foreach_add_(self.weights, list(direction), alpha=scale)
            return self.value()

    def gradient(self, at: Sequence[Tensor] | None = None) -> list[Tensor]:
        """grad L at w, or at w + ``at``."""
        if at is not None:
            with restored(self.weights):
                with torch.no_grad():
                    torch._foreach_add_(self.weights, list(at))
                return self.gradient()
        total = [torch.zeros_like(weight) for weight in self.weights]
        with torch.enable_grad():
            for part in self._parts():
                gradients = torch.autograd.grad(part, self.weights, allow_unused=True)
                for whole, gradient in zip(total, gradients, strict=True):
                    if gradient is not None:
                        whole += gradient
        return total

    def hessian_times(self, v: Sequence[Tensor]) -> list[Tensor]:
        """H v, H the Hessian of L at w."""
        total = [torch.zeros_like(weight) for weight in self.weights]
        with torch.enable_grad():
            for part in self._parts():
                torch._foreach_add_(total, hessian_product(part, self.weights, v))
        return total

    def _parts(self) -> Iterator[Tensor]:
        """The chunks' shares of L, one at a time."""
        size = len(self.labels)
        for start in range(0, size, self.chunk):
            rows = slice(start, start + self.chunk)
            yield self.loss(self.model(self.images[rows]), self.labels[rows]).sum() / size
