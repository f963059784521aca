"""Forward and backward correction with a transition matrix estimated from the noisy data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.losses import build_loss
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

PERCENTILE = 0.97


def estimate_transition(probabilities: Tensor, *, outlier_filter: bool = True) -> Tensor:
    """T-hat ``[K, K]``, T[i][j] = P(noisy j | true i), from predictions on the training set ``[n, K]``.

    Row i is the prediction of the sample with the largest p_i, brought to sum 1  (Patrini et al. 2017, eq. 12). With
    ``outlier_filter`` samples whose p_i is at or above its 97th percentile (the next sample upwards) are passed over in
    row i, and in that row alone; the authors' code sets them to 0 in place, which reaches later rows. Where that leaves
    none, all count.
    """
    classes = range(probabilities.shape[1])
    return torch.stack([_row(probabilities, i, outlier_filter) for i in classes])


def _row(probabilities: Tensor, i: int, outlier_filter: bool) -> Tensor:
    column = probabilities[:, i]
    if outlier_filter:
        limit = torch.quantile(column, PERCENTILE, interpolation="higher")
        filtered = column.masked_fill(column >= limit, -1.0)
        column = torch.where(filtered.max() >= 0, filtered, column)
    row = probabilities[column.argmax()]
    return row / row.sum()


@algorithm("estimated_correction", cite="patrini2017", uses_holdout=True)  # its noisy labels choose T-hat's epoch
class EstimatedCorrection(OneNetwork):
    """Forward or backward correction with an estimated matrix, in two stages  (Patrini et al. 2017, algorithm 1).

    Phase ``estimate`` (``estimate_epochs``, null: ``training.epochs``): cross entropy on the noisy labels. T-hat is
    ``estimate_transition`` of the training part's predictions (eval mode, no augmentation), taken after the epoch with
    the lowest cross entropy on the noisy hold-out (``dataset.validation``), as the authors do; without a hold-out after
    the last epoch, when a network that has memorised gives a matrix too close to the identity. Phase ``retrain``:
    a new network, from scratch, with loss ``forward`` or ``backward`` and T-hat, ``training.epochs``; the suite's
    schedule in each phase.

    ``outlier_filter``: the authors', on for all data but CIFAR-100 (3 % of all images are more than a class there). The
    authors answer with the epoch of the lowest hold-out loss: rule ``validation``. Their training (``recipe:
    authors``), ResNet-14 or 32, batch 128, 10 % held out:

        training: {epochs: 120, optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.1}}

    Differs from their code in the leak of the filter, and in no clamp of p. A T-hat without inverse ends a backward run
    with a message; backward has no lower bound and wants a small learning rate. ``estimated_noise_rate``: 1 - mean of
    T-hat's diagonal, the wrong share where classes are equally frequent; ``estimated_in_epoch`` counts from 1.
    Memory: one network at a time.
    """

    state = ("transition", "lowest", "estimated_in", "phase_name")

    def __init__(
        self,
        task: Task,
        *,
        correction: Literal["forward", "backward"] = "forward",
        estimate_epochs: Annotated[Epochs, Field(ge=1)] | None = None,
        outlier_filter: bool = True,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.correction, self.estimate_epochs, self.outlier_filter = correction, estimate_epochs, outlier_filter
        self.transition = torch.eye(task.num_classes, dtype=torch.float64)
        self.lowest, self.estimated_in, self.phase_name = float("inf"), 0, ""
        self._corrected: Callable[[Tensor, Tensor], Tensor] | None = None

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``estimate``, then ``retrain``."""
        epochs = int(training["epochs"])
        return [Phase("estimate", self.estimate_epochs or epochs), Phase("retrain", epochs)]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Estimate where there is no hold-out, forget the first network and make a new one."""
        self.phase_name = phase.name
        if phase.name == "retrain":
            if not len(self.task.holdout):
                self._estimate(self.task.epoch)
            self.task.release([self.model], [self.optimizer])
            self.model = self.task.model()
            self.optimizer = self.task.optimizer(self.model)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; in ``estimate`` followed by a look at the hold-out, and by a new T-hat where its loss is lowest."""
        mean = super().train_epoch(epoch, loader)
        task = self.task
        if self.phase_name == "estimate" and len(task.holdout):
            logits = task.evaluate(functools.partial(task.forward, self.model), task.images[task.holdout])
            loss = float(cross_entropy(logits.double(), task.labels[task.holdout]))
            if loss < self.lowest:
                self.lowest = loss
                self._estimate(epoch + 1)
        return mean

    def step(self, batch: Batch) -> Tensor:
        """One step on cross entropy or on the corrected loss."""
        loss = self.task.loss if self.phase_name == "estimate" else self._loss()

        def losses(rows: Tensor | None) -> Tensor:
            return loss(self.logits(batch.images, rows), batch.labels if rows is None else batch.labels[rows])

        return self.learn(batch.images, losses)

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``, ``estimated_in_epoch``."""
        rate = 1 - float(self.transition.diagonal().mean())
        return {"estimated_noise_rate": rate, "estimated_in_epoch": float(self.estimated_in)}

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        if self._corrected is None:
            self._corrected = build_loss(self.correction, transition=self.transition.tolist())
        return self._corrected

    def _estimate(self, epoch: int) -> None:
        task = self.task
        logits = task.evaluate(functools.partial(task.forward, self.model), task.images[task.index])
        probabilities = softmax(logits.cpu().double(), dim=1)
        self.transition = estimate_transition(probabilities, outlier_filter=self.outlier_filter)
        self.estimated_in = epoch
