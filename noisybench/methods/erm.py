"""Empirical risk minimisation: loss x optimiser x mixup. Serves most methods."""

from __future__ import annotations

from torch import Tensor

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.mixing import draw_epoch
from noisybench.methods.task import Task
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
        """One optimiser step on the batch; returns the mean loss at the unperturbed weights."""
        mix = next(self._mixes) if self._mixes is not None else None
        images = mix.images(batch.images) if mix else batch.images

        def closure(create_graph: bool = False) -> Tensor:
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.task.forward(self.model, images)
            losses = mix.loss(self.task.loss, logits, batch.labels) if mix else self.task.loss(logits, batch.labels)
            loss = losses.mean()
            self.task.count_gradients(len(batch.index))
            if create_graph:
                return loss
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
            return loss.detach()

        loss: Tensor = self.optimizer.step(closure)  # type: ignore[arg-type,assignment]  # torch says float for both
        return loss.detach()
