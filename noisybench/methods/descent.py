"""One optimiser step on the losses of a batch, weighted or not, for any optimiser of the suite."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisybench.methods.task import Task
from noisybench.optim import SAM


class Closure(abc.ABC):
    """What an optimiser calls for the gradient of a batch: zero_grad, forward, backward, the mean loss, detached.

    ``create_graph``: the loss with its graph, without backward (second-order SAM). ``rows``: of these images alone.
    ``per_image``: losses ``[B]`` instead of their mean, detached; ``backward=False``: without any gradient (ESAM).
    """

    task: Task
    optimizer: torch.optim.Optimizer
    networks: int = 1
    """How many networks a loss goes through, for the count of gradients."""

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
                return self.losses(rows)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.losses(rows)
        self.task.count_gradients(self.networks * len(losses))
        loss = losses.mean()
        if create_graph:
            return loss
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        return losses.detach() if per_image else loss.detach()

    @abc.abstractmethod
    def losses(self, rows: Tensor | None) -> Tensor:
        """Per-image losses of a forward pass, of all images ``[B]`` or of ``rows`` int64 ``[b]`` alone."""


@dataclass(frozen=True)
class WeightedClosure(Closure):
    """The gradient of ``mean_i w_i l_i``.

    ``forward(rows)`` gives the per-image losses of a forward pass ``[B]``, of all images or of ``rows`` int64 ``[b]``
    alone; ``weights`` ``[B]`` carry no gradient. ``ready``: losses of all images that were computed already, with their
    graph; the first pass over the whole batch uses them up, so that images are ranked and trained on in one forward
    pass. SAM's second pass computes its own (with dropout it draws its own masks then). ``networks``: how many
    a loss goes through, for the count of gradients.
    """

    task: Task
    optimizer: torch.optim.Optimizer
    forward: Callable[[Tensor | None], Tensor]
    weights: Tensor
    ready: list[Tensor]
    networks: int = 1

    def losses(self, rows: Tensor | None) -> Tensor:
        """Weighted per-image losses, of all images or of ``rows``."""
        if rows is not None:
            return self.weights[rows] * self.forward(rows)
        return self.weights * (self.ready.pop() if self.ready and torch.is_grad_enabled() else self.forward(None))


def micro_batches(size: int, m: int, device: torch.device) -> list[Tensor]:
    """Rows of a batch in parts of m; a last part of one image joins the part before it, as a last batch does."""
    parts = list(torch.arange(size, device=device).split(m))  # type: ignore[no-untyped-call]  # torch's own
    if len(parts) > 1 and len(parts[-1]) == 1 < m:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def descend(optimizer: torch.optim.Optimizer, closure: Closure, images: Tensor) -> Tensor:
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
