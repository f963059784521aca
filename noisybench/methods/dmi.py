"""L_DMI: the determinant of a batch's joint distribution of label and prediction."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import OneNetwork, refuse_mixup
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

SHIFT = math.log(1e-3)
SINGULAR = -40.0
"""Logarithm below which a determinant counts as 0: far below what single precision resolves beside SHIFT, and its
matrix far from having an inverse."""


def determinant_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log(|det(Y^T P)| + 1e-3)`` of a batch, a scalar; Y one-hot labels, P probabilities, both ``[B, K]``.

    Not divided by B. A batch in which a class is missing has determinant 0: the loss is -log 1e-3, without gradient,
    as for every matrix whose determinant is below e^-40.
    """
    joint = one_hot(labels, logits.shape[1]).to(logits.dtype).T @ softmax(logits, dim=1)
    identity = torch.eye(len(joint), dtype=joint.dtype, device=joint.device)
    singular = torch.linalg.slogdet(joint.detach()).logabsdet < SINGULAR
    log_det = torch.linalg.slogdet(torch.where(singular, identity, joint)).logabsdet
    shift = torch.full_like(log_det, SHIFT)
    return torch.where(singular, -shift, -torch.logaddexp(log_det, shift))


@algorithm("dmi", cite="xu2019dmi", uses_holdout=True)  # its noisy labels choose the first phase's epoch
class DeterminantMutualInformation(OneNetwork):
    """L_DMI, -log(|det(Y^T P)| + 1e-3) of each batch, after training with the suite's loss  (Xu et al. 2019).

    Phase ``pretrain``: the suite's loss and schedule for ``training.epochs`` (the determinant of an untrained network
    is next to 0 and teaches nothing). Phase ``dmi``: ``epochs`` more with L_DMI, at the base learning rate times
    ``factor`` throughout, a new optimiser state, starting from the weights of the epoch with the best accuracy on the
    noisy hold-out (``dataset.validation``), as the authors', or from the last without one. A batch should hold
    several images of every class; where one is missing it teaches nothing. The loss does not know which class is which
    (swapping two columns of P changes nothing): the first phase decides that.

    Authors' training on CIFAR-10 (``recipe: authors``), ResNet-34, batch 256, factor 1e-5 (0.1, then 1e-6), 100 epochs:

        training: {epochs: 120, drop_last: true, optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.1}}

    Differs from their code in that momentum is kept from epoch to epoch. Micro-batches (SAM with m) have a loss each.
    Memory: with a hold-out a second copy of the weights.
    """

    state = ("best_accuracy", "determinants")

    def __init__(
        self,
        task: Task,
        *,
        epochs: Annotated[Epochs, Field(ge=1)] = 100,
        factor: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        self.epochs, self.factor = epochs, factor
        self.best_accuracy, self.determinants = -1.0, False
        if len(task.holdout):
            self.best = task.model()
            self.best.load_state_dict(self.model.state_dict())

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``pretrain``, then ``dmi``."""
        return [Phase("pretrain", int(training["epochs"])), Phase("dmi", self.epochs, lambda position: self.factor)]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Start ``dmi`` from the best weights with a new optimiser."""
        if phase.name == "dmi":
            self.determinants = True
            if len(self.task.holdout):
                self.model.load_state_dict(self.best.state_dict())
            self.task.release([], [self.optimizer])
            self.optimizer = self.task.optimizer(self.model)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; while pretraining, then a look at the hold-out."""
        mean = super().train_epoch(epoch, loader)
        task = self.task
        if len(task.holdout) and not self.determinants:
            predicted = task.evaluate(functools.partial(task.forward, self.model), task.images[task.holdout])
            accuracy = float((predicted.argmax(dim=1) == task.labels[task.holdout]).double().mean())
            if accuracy >= self.best_accuracy:
                self.best_accuracy = accuracy
                self.best.load_state_dict(self.model.state_dict())
        return mean

    def step(self, batch: Batch) -> Tensor:
        """One step on the suite's loss, or on the determinant, which is every image's loss."""

        def losses(rows: Tensor | None) -> Tensor:
            labels = batch.labels if rows is None else batch.labels[rows]
            logits = self.logits(batch.images, rows)
            if self.determinants:
                return determinant_loss(logits, labels).expand(len(labels))
            return self.task.loss(logits, labels)

        return self.learn(batch.images, losses)
