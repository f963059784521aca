"""One optimiser step on losses that are weighted image by image, for any optimiser of the suite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisybench.methods.erm import BatchClosure, micro_batches
from noisybench.methods.task import Task
from noisybench.optim import SAM


@dataclass(frozen=True)
class WeightedClosure:
    """What an optimiser calls for the gradient of ``mean_i w_i l_i``: zero_grad, forward, backward, the mean, detached.

    ``losses(rows)`` gives the per-image losses of a forward pass ``[B]``, of all images or of ``rows`` int64 ``[b]``
    alone; ``weights`` ``[B]`` carry no gradient. ``ready``: losses of all images that were computed already, with their
    graph; the first pass over the whole batch uses them up, so that images are ranked and trained on in one forward
    pass. SAM's second pass computes its own (with dropout it draws its own masks then). ``networks``: how many
    a loss goes through, for the count of gradients. The keywords are those of
    ``erm.BatchClosure``.
    """

    task: Task
    optimizer: torch.optim.Optimizer
    losses: Callable[[Tensor | None], Tensor]
    weights: Tensor
    ready: list[Tensor]
    networks: int = 1

    def __call__(
        self,
        create_graph: bool = False,
        *,
        rows: Tensor | None = None,
        per_image: bool = False,
        backward: bool = True,
    ) -> Tensor:
        if not backward:
            with torch.no_grad():
                return self._weighted(rows)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._weighted(rows)
        self.task.count_gradients(self.networks * len(losses))
        loss = losses.mean()
        if create_graph:
            return loss
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        return losses.detach() if per_image else loss.detach()

    def _weighted(self, rows: Tensor | None) -> Tensor:
        if rows is not None:
            return self.weights[rows] * self.losses(rows)
        return self.weights * (self.ready.pop() if self.ready and torch.is_grad_enabled() else self.losses(None))


def descend(optimizer: torch.optim.Optimizer, closure: BatchClosure | WeightedClosure, images: Tensor) -> Tensor:
    """One step of ``optimizer``; returns the mean loss at the unperturbed weights, detached, on the device.

    An optimiser with micro-batches of m images (m-sharpness) gets one closure for each m of ``images`` ``[B, ...]``.
    """
    if isinstance(optimizer, SAM) and optimizer.m is not None:
        parts = micro_batches(len(images), optimizer.m, images.device)
        closures = [functools.partial(closure, rows=part) for part in parts]
        mean: Tensor = optimizer.step(closures=closures, sizes=[len(part) for part in parts])
        return mean.detach()
    loss: Tensor = optimizer.step(closure)  # type: ignore[arg-type,assignment]  # torch says float for both
    return loss.detach()
