"""SELC: labels become the running average of the network's predictions."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.elr import disagreement
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

AUTHORS_SHARE = 30 / 200
"""Epochs of plain cross entropy at 40 and 60 % symmetric noise on CIFAR-10, of all the authors' epochs."""


def corrected(targets: Tensor, logits: Tensor, memory: float | Tensor) -> Tensor:
    """``memory t + (1 - memory) softmax(z)``: rows ``[B, K]`` of the table after these predictions, no gradient."""
    return memory * targets + (1 - memory) * softmax(logits.detach(), dim=1)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """``-sum_k t_k log p_k`` per sample ``[B]``; targets ``[B, K]``."""
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1)


@algorithm("selc", cite="lu2022selc")
class SelfEnsembleLabelCorrection(OneNetwork):
    """SELC, mean_i CE(z_i, t_i) with labels t_i that the network's own predictions correct  (Lu & He 2022).

    Each image has a target t_i in R^K, its one-hot noisy label at first. For ``begin`` epochs nothing moves, which is
    plain cross entropy. From then on a step first moves the targets of its batch, t <- alpha t + (1 - alpha) p with p
    the softmax of the forward pass it is trained with (train mode, augmented), then takes the loss with them; no
    gradient flows through t. What is left of the noisy label after n epochs is alpha^n. SAM's second pass uses the
    targets of the first.

    ``begin`` is the turning point at which the network starts to fit wrong labels. Default (None): the share it has of
    the authors' epochs at 40 % noise, 30 of 200, rounded, at least 1. The authors' code looks it up by data set, kind
    and true rate of the noise (CIFAR-10 symmetric 20 to 80 %: 40, 30, 30, 40; asymmetric 40 %: 40; CIFAR-100: 30, 20,
    30, 40; 20): overrides by noise are marked rate-aware. How that table was found is not in it, and not here.

    Authors' alpha 0.9 throughout. Their training (``recipe: authors``), ResNet-34, batch 128, crop and flip:

        training: {epochs: 200, optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 1e-3},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.1}}

    Equals their code but that log-softmax stays finite where a probability is 0. Their SELC+, a second training with
    mixup on the corrected labels, is not here. ``estimated_noise_rate``: share of the training part whose largest
    target is not its label at the end. Memory: K numbers an image.
    """

    state = ("targets",)

    def __init__(
        self,
        task: Task,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.9,
        begin: Annotated[Epochs, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        share = max(1, math.floor(AUTHORS_SHARE * int(task.training["epochs"]) + 0.5))
        self.alpha, self.begin = alpha, share if begin is None else begin
        self.targets = one_hot(task.labels, task.num_classes).float()
        self.memory = torch.ones((), device=task.device)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Whether this epoch's predictions move the targets."""
        self.memory.fill_(1.0 if epoch < self.begin else self.alpha)

    def step(self, batch: Batch) -> Tensor:
        """Move the batch's targets, then one step, in one forward pass."""
        logits = self.logits(batch.images)
        targets = corrected(self.targets[batch.index], logits, self.memory)
        self.targets[batch.index] = targets

        def losses(rows: Tensor | None) -> Tensor:
            return soft_cross_entropy(self.logits(batch.images, rows), targets if rows is None else targets[rows])

        return self.learn(batch.images, losses, ready=soft_cross_entropy(logits, targets))

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``."""
        index = self.task.index
        return {"estimated_noise_rate": disagreement(self.targets[index], self.task.labels[index])}
