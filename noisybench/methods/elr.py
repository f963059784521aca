"""Early-learning regularisation (ELR): predictions of the past hold the network where it was."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softmax

from noisybench.data.loader import Batch
from noisybench.methods.one_network import OneNetwork, refuse_mixup
from noisybench.methods.task import Task
from noisybench.registry import algorithm

SMALLEST = 1e-4
"""Probabilities are clamped to [1e-4, 1 - 1e-4]; the logarithm stays finite."""

Strength = Annotated[float, Field(ge=0)]
Memory = Annotated[float, Field(ge=0, lt=1)]


def clamped(logits: Tensor) -> Tensor:
    """Softmax clamped to [1e-4, 1 - 1e-4], ``[B, K]``; no gradient where it is clamped."""
    return softmax(logits, dim=1).clamp(SMALLEST, 1 - SMALLEST)


def remembered(targets: Tensor, probabilities: Tensor, beta: float) -> Tensor:
    """``beta t + (1 - beta) p / sum(p)``: rows ``[B, K]`` of the table after these predictions, without gradient."""
    p = probabilities.detach()
    return beta * targets + (1 - beta) * p / p.sum(dim=1, keepdim=True)


def regulariser(logits: Tensor, targets: Tensor) -> Tensor:
    """``log(1 - <t, p>)`` per sample ``[B]``, p clamped: falls as the prediction agrees with the target."""
    return torch.log(1 - (targets * clamped(logits)).sum(dim=1))


def disagreement(targets: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest target is not their label: targets ``[n, K]``, labels ``[n]``."""
    return float((targets.argmax(dim=1) != labels).double().mean())


@algorithm("elr", cite="liu2020elr")
class EarlyLearningRegularisation(OneNetwork):
    """ELR, mean_i l(z_i, y_i) + lambda_ log(1 - <t_i, p_i>)  (Liu et al. 2020, eq. 6).

    l is the suite's loss (the authors': cross entropy). Each image has a target t_i in R^K, zero at first; a step first
    moves the targets of its batch, t <- beta t + (1 - beta) p / sum(p), then takes the loss with them; p is the softmax
    clamped to [1e-4, 1 - 1e-4], the gradient flows through it and not through t. SAM's second pass uses the targets of
    the first. In YAML the strength is written ``lambda``.

    Defaults are the authors' for CIFAR-10 with symmetric noise: lambda 3, beta 0.7; asymmetric 40 %: 1 and 0.9;
    CIFAR-100: 7 and 0.9. Their training (``recipe: authors``), ResNet-34, batch 128, crop and flip:

        training: {epochs: 120, optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 1e-3},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.01}}

    which is plain ELR's; the row the paper prints as ELR* restarts a cosine every 10 epochs, which is no schedule here.
    ``estimated_noise_rate``: share of the training part whose largest target is not its label at the end.
    Memory: K numbers an image.
    """

    state = ("targets",)

    def __init__(self, task: Task, *, lambda_: Strength = 3.0, beta: Memory = 0.7) -> None:
        super().__init__(task)
        refuse_mixup(task, "; algorithm 'elr_plus' mixes images and targets")
        self.strength, self.beta = lambda_, beta
        self.targets = torch.zeros(len(task.labels), task.num_classes, device=task.device)

    def step(self, batch: Batch) -> Tensor:
        """Move the batch's targets, then one step, in one forward pass."""
        logits = self.logits(batch.images)
        targets = remembered(self.targets[batch.index], clamped(logits), self.beta)
        self.targets[batch.index] = targets

        def objective(logits: Tensor, rows: Tensor | None) -> Tensor:
            labels, t = (batch.labels, targets) if rows is None else (batch.labels[rows], targets[rows])
            return self.task.loss(logits, labels) + self.strength * regulariser(logits, t)

        return self.learn(
            batch.images,
            lambda rows: objective(self.logits(batch.images, rows), rows),
            ready=objective(logits, None),
        )

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``."""
        index = self.task.index
        return {"estimated_noise_rate": disagreement(self.targets[index], self.task.labels[index])}
