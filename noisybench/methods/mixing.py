"""Mixup (Zhang et al. 2018): the draws of a whole epoch, and the mixed loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisybench.seeding import Draws, torch_generator


@dataclass(frozen=True)
class Mix:
    """One batch's draw: ``x~ = weight x + (1 - weight) x[partner]``; the loss is mixed likewise."""

    weight: Tensor  # scalar
    partner: Tensor  # int64 [B]

    def images(self, images: Tensor) -> Tensor:
        """Mixed images, same shape."""
        return torch.lerp(images[self.partner], images, self.weight)

    def loss(
        self, loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """``weight l(z, y) + (1 - weight) l(z, y[partner])`` per sample, ``[B]``; ``rows``: logits of these alone."""
        one, two = labels, labels[self.partner]
        if rows is not None:
            one, two = one[rows], two[rows]
        return self.weight * loss(logits, one) + (1 - self.weight) * loss(logits, two)


def draw_epoch(alpha: float, sizes: Sequence[int], seed: int, epoch: int, device: torch.device) -> Iterator[Mix]:
    """One weight ~ Beta(alpha, alpha) and one permutation a batch, as the authors do (facebookresearch/mixup-cifar10).

    Everything is drawn on the CPU from ``(seed, mixup, epoch)`` and copied once. The weight is not folded to
    max(w, 1-w), and a permutation may hit itself, as in the authors' code.
    """
    weights = torch.from_numpy(Draws(seed, "mixup", epoch).generator().beta(alpha, alpha, len(sizes))).float()
    generator = torch_generator(seed, "mixup", epoch)
    partners = torch.cat([torch.randperm(size, generator=generator) for size in sizes])
    weights, partners = weights.to(device), partners.to(device)
    for weight, partner in zip(weights, torch.split(partners, list(sizes)), strict=True):
        yield Mix(weight, partner)
