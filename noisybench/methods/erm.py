"""Empirical risk minimisation: loss x optimiser x mixup. Serves most methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.descent import Closure, descend
from noisybench.methods.mixing import Mix, draw_epoch
from noisybench.methods.task import Task
from noisybench.registry import algorithm


@algorithm("erm")
class EmpiricalRiskMinimisation(Algorithm):
    """One network, the batch mean of the suite's loss, the suite's optimiser, mixup if the suite asks for it.

    ``L(w) = 1/B sum_i l(f_w(x_i), y_i)`` on the noisy labels. SAM and its kin enter as the optimiser, robust losses as
    the loss, mixup (Zhang et al. 2018) as ``method.mixup``.
    """

    steady = True

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

    def step_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The batch's draw of mixup."""
        if self._mixes is None:
            return ()
        mix = next(self._mixes)
        return mix.weight, mix.partner

    def step(self, batch: Batch) -> Tensor:
        """One optimiser step on the batch; returns the mean loss at the unperturbed weights.

        An optimiser with micro-batches of m images (m-sharpness) gets one closure for each m images of the batch.
        """
        mix = Mix(*batch.inputs) if batch.inputs else None
        images = mix.images(batch.images) if mix else batch.images
        closure = BatchClosure(self.task, self.model, self.optimizer, images, batch.labels, mix)
        return descend(self.optimizer, closure, images)


@dataclass(frozen=True)
class BatchClosure(Closure):
    """The gradient of the mean loss of a batch under one network, mixed if ``mix`` says so."""

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor
    mix: Mix | None

    def losses(self, rows: Tensor | None) -> Tensor:
        """Per-image losses, of all images or of ``rows``."""
        logits = self.task.forward(self.model, self.images if rows is None else self.images[rows])
        if self.mix is not None:
            return self.mix.loss(self.task.loss, logits, self.labels, rows)
        return self.task.loss(logits, self.labels if rows is None else self.labels[rows])
