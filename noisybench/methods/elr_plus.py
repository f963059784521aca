"""ELR+: two networks whose averages make each other's targets, with mixup."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.averaged_network import update_average
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.elr import Memory, Strength, disagreement, regulariser, remembered
from noisybench.methods.mixing import Mix, draw_epoch
from noisybench.methods.one_network import refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm


def sigmoid_ramp(done: float, length: float) -> float:
    """exp(-5 (1 - done / length)^2) up to ``length``, then 1; 1 throughout for length 0  (Laine & Aila 2017)."""
    if length == 0:
        return 1.0
    return math.exp(-5.0 * (1 - min(max(done / length, 0.0), 1.0)) ** 2)


def refined(labels: Tensor, targets: Tensor) -> Tensor:
    """Mixed labels ``[B, K]`` times targets, brought to sum 1: what the authors train on for CIFAR-100."""
    product = labels * targets
    return product / product.sum(dim=1, keepdim=True).clamp(min=1e-12)


def objective(logits: Tensor, labels: Tensor, targets: Tensor, strength: float) -> Tensor:
    """``CE + strength log(1 - <t, p>)`` per sample ``[B]`` of mixed labels and targets ``[B, K]``."""
    return -(labels * log_softmax(logits, dim=1)).sum(dim=1) + strength * regulariser(logits, targets)


@algorithm("elr_plus", cite="liu2020elr", ensemble=2)
class EarlyLearningRegularisationPlus(Algorithm):
    """ELR+: ELR with two networks, averaged weights and mixup  (Liu et al. 2020, section 4.3).

    Each network is trained for an epoch in its own order, one after the other, each with a table of targets: a step
    moves the targets of its batch by the predictions that the *other network's average* makes of the unmixed images
    (train mode, without gradient: ``elr.remembered`` of a plain softmax), then takes

        CE(z~, y~) + lambda log(1 - <t~, p~>)

    on images mixed with one weight ~ Beta(alpha, alpha), folded to at least 1/2, and one permutation a batch; labels
    y~ and targets t~ are mixed alike. The average follows its network's parameters with decay ``decay``, which rises
    from next to nothing over ``average_ramp`` epochs (``sigmoid_ramp``); lambda rises likewise over ``ramp``.
    ``refine``: CE is taken to y~ t~ / sum instead of y~, the authors' for CIFAR-100. The mean of both networks' logits
    answers, not their averages, as in the authors' code. Two gradients an image and epoch.

    Defaults are the authors' for CIFAR-10; their 40,000 steps are 102 epochs. CIFAR-10 asymmetric: lambda 1, beta 0.9;
    CIFAR-100: lambda 7, beta 0.9, ramp 102, refine. Their training (``recipe: authors``), PreActResNet-18, batch 128:

        training: {epochs: 200, optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 5e-4},
                   schedule: {name: multistep, milestones: [150], gamma: 0.1}}

    Differs from their code in that an average starts as a copy of its network (there as another random network, which
    the first decays of 0.007 forget), and in that SAM's second pass uses the targets of the first.
    ``estimated_noise_rate``: share of the training part whose largest target is not its label, mean of both tables.
    Memory: four networks, two optimisers, 2 K numbers an image.
    """

    capturable = False  # decay and lambda change from step to step as plain numbers
    state = ("targets",)

    def __init__(
        self,
        task: Task,
        *,
        lambda_: Strength = 3.0,
        beta: Memory = 0.7,
        alpha: Annotated[float, Field(gt=0)] = 1.0,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.997,
        average_ramp: Annotated[Epochs, Field(ge=0)] = 102,
        ramp: Annotated[Epochs, Field(ge=0)] = 0,
        refine: bool = False,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task, " (its alpha is algorithm.alpha)")
        refuse_other_losses(task)
        self.strength, self.beta, self.alpha, self.decay = lambda_, beta, alpha, decay
        self.average_ramp, self.ramp, self.refine = average_ramp, ramp, refine
        self.networks = [task.model(), task.model()]
        self.optimizers = [task.optimizer(network) for network in self.networks]
        self.averages = [task.model(), task.model()]
        for average, network in zip(self.averages, self.networks, strict=True):
            average.load_state_dict(network.state_dict())
            average.requires_grad_(False)
        self.targets = torch.zeros(2, len(task.labels), task.num_classes, device=task.device)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch of the first network, then one of the second."""
        return torch.stack([self._pass(number, epoch, loader) for number in range(2)]).mean()

    def predict(self, images: Tensor) -> Tensor:
        """Mean of both networks' logits."""
        return torch.stack([self.task.forward(network, images) for network in self.networks]).mean(dim=0)

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``."""
        index = self.task.index
        shares = [disagreement(targets[index], self.task.labels[index]) for targets in self.targets]
        return {"estimated_noise_rate": sum(shares) / 2}

    def _pass(self, number: int, epoch: int, loader: Loader) -> Tensor:
        total, images, steps = torch.zeros((), device=self.task.device), 0, len(loader)
        own = 2 * epoch + number  # each network has its own order, augmentation and mixup
        mixes = self._mixes(own, loader)
        for step, batch in enumerate(self.task.batches(loader, own)):
            done = epoch + (step + 1) / steps
            total += self._step(number, batch, next(mixes), done) * len(batch.index)
            images += len(batch.index)
            share = sigmoid_ramp(done + 1 / steps, self.average_ramp)  # one step ahead, as in the authors' code
            update_average(self.averages[number], self.networks[number], self.decay * share)
        return total / images

    def _mixes(self, own: int, loader: Loader) -> Iterator[Mix]:
        task = self.task
        for mix in draw_epoch(self.alpha, loader.sizes, task.seed, own, task.device):
            yield Mix(torch.maximum(mix.weight, 1 - mix.weight), mix.partner)

    def _step(self, number: int, batch: Batch, mix: Mix, done: float) -> Tensor:
        task, network, optimizer = self.task, self.networks[number], self.optimizers[number]
        with torch.no_grad():
            seen = softmax(task.forward(self.averages[1 - number], batch.images), dim=1)
        table = self.targets[number]
        moved = remembered(table[batch.index], seen, self.beta)
        table[batch.index] = moved
        targets, images = mix.images(moved), mix.images(batch.images)
        labels = mix.images(one_hot(batch.labels, task.num_classes).to(moved.dtype))
        labels = refined(labels, targets) if self.refine else labels
        strength = self.strength * sigmoid_ramp(done, self.ramp)

        def losses(rows: Tensor | None) -> Tensor:
            x, y, t = (images, labels, targets) if rows is None else (images[rows], labels[rows], targets[rows])
            return objective(task.forward(network, x), y, t, strength)

        ones = torch.ones(len(batch.labels), device=task.device)
        return descend(optimizer, WeightedClosure(task, optimizer, losses, ones, []), images)
