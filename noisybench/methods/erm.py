"""Empirical risk minimisation: loss x optimiser x mixup. Serves most methods."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.mixing import Mix, draw_epoch
from noisybench.methods.task import Task
from noisybench.optim import SAM
from noisybench.registry import algorithm


@algorithm("erm")
class EmpiricalRiskMinimisation(Algorithm):
    """One network, the batch mean of the suite's loss, the suite's optimiser, mixup if the suite asks for it.

    ``L(w) = 1/B sum_i l(f_w(x_i), y_i)`` on the noisy labels. SAM and its kin enter as the optimiser, robust losses as
    the loss, mixup (Zhang et al. 2018) as ``method.mixup``.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Draw the epoch's mixup."""
        mixup, task = self.task.mixup, self.task
        self._mixes = (
            draw_epoch(mixup["alpha"], loader.sizes, task.seed, epoch, task.device) if mixup is not None else None
        )

    def step(self, batch: Batch) -> Tensor:
        """One optimiser step on the batch; returns the mean loss at the unperturbed weights.

        An optimiser with micro-batches of m images (m-sharpness) gets one closure for each m images of the batch.
        """
        mix = next(self._mixes) if self._mixes is not None else None
        images = mix.images(batch.images) if mix else batch.images
        closure = BatchClosure(self.task, self.model, self.optimizer, images, batch.labels, mix)
        if isinstance(self.optimizer, SAM) and self.optimizer.m is not None:
            parts = micro_batches(len(batch.labels), self.optimizer.m, batch.labels.device)
            closures = [functools.partial(closure, rows=part) for part in parts]
            mean: Tensor = self.optimizer.step(closures=closures, sizes=[len(part) for part in parts])
            return mean.detach()
        loss: Tensor = self.optimizer.step(closure)  # type: ignore[arg-type,assignment]  # torch says float for both
        return loss.detach()


def micro_batches(size: int, m: int, device: torch.device) -> list[Tensor]:
    """Rows of a batch in parts of m; a last part of one image joins the part before it, as a last batch does."""
    parts = list(torch.arange(size, device=device).split(m))  # type: ignore[no-untyped-call]  # torch's own
    if len(parts) > 1 and len(parts[-1]) == 1 < m:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@dataclass(frozen=True)
class BatchClosure:
    """What an optimiser calls for the gradient of a batch: zero_grad, forward, backward, the mean loss, detached.

    ``create_graph``: the loss with its graph, without backward (second-order SAM). ``rows``: of these images alone.
    ``per_image``: losses ``[B]`` instead of their mean, detached; ``backward=False``: without any gradient (ESAM).
    """

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor
    mix: Mix | None

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
        self.task.count_gradients(len(losses))
        loss = losses.mean()
        if create_graph:
            return loss
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        return losses.detach() if per_image else loss.detach()

    def losses(self, rows: Tensor | None) -> Tensor:
        """Per-image losses, of all images or of ``rows``."""
        logits = self.task.forward(self.model, self.images if rows is None else self.images[rows])
        if self.mix is not None:
            return self.mix.loss(self.task.loss, logits, self.labels, rows)
        return self.task.loss(logits, self.labels if rows is None else self.labels[rows])
