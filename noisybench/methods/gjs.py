"""Generalised Jensen-Shannon divergence between a label and the predictions of two views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.data.loader import Batch, Loader
from noisybench.losses.log_space import at_label
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import algorithm


def generalised_jensen_shannon(
    views: Sequence[Tensor], labels: Tensor, pi: float, *, scaled: bool = True, consistency: bool = True
) -> Tensor:
    """GJS = pi KL(e_y || m) + sum_v w KL(p_v || m), m = pi e_y + w sum_v p_v, w = (1 - pi) / V, per sample ``[B]``.

    ``views``: V tensors of logits ``[B, K]``; one is the JS loss. ``scaled`` divides by -(1 - pi) log(1 - pi).
    Without ``consistency`` the divergence is that of the label and the views' mean prediction, which the authors' code
    forgets to bring to sum 1. Everything stays in log space; the authors clamp the mean at 1e-7.
    """
    weight = math.log((1 - pi) / len(views))
    log_p = torch.stack([log_softmax(logits, dim=1) for logits in views])  # [V, B, K]
    log_rest = torch.logsumexp(log_p + weight, dim=0)
    log_pi = torch.full_like(log_rest[:, :1], math.log(pi))
    at_y = labels.unsqueeze(1)
    log_m = log_rest.scatter(1, at_y, torch.logaddexp(log_rest.gather(1, at_y), log_pi))
    if not consistency:
        log_p, weight = (log_rest - math.log(1 - pi)).unsqueeze(0), math.log(1 - pi)
    spread = (log_p.exp() * (log_p - log_m)).sum(dim=2).sum(dim=0)
    divergence = -pi * at_label(log_m, labels) + math.exp(weight) * spread
    return divergence / (-(1 - pi) * math.log1p(-pi)) if scaled else divergence


@algorithm("gjs", cite="englesson2021gjs")
class GeneralisedJensenShannon(OneNetwork):
    """GJS: label and predictions of two augmentations brought together  (Englesson & Azizpour 2021, eq. 9).

    Each image is augmented twice by the suite's ``augment``; both views go through the network in one batch of 2 B (one
    set of batch-norm statistics, as in the authors' code), and the loss is ``generalised_jensen_shannon``, divided by
    -(1 - pi) log(1 - pi) where ``scaled``, as in all their CIFAR runs. Without augmentation both views are the same
    image and the loss is ``js``, at twice the price. ``consistency: false`` is the authors' ablation. Two gradients an
    image.

    Authors' pi for CIFAR-10 at symmetric 0, 20, 40, 60, 80 %: 0.5, 0.3, 0.9, 0.1, 0.1; asymmetric 0.3: overrides by
    noise, rate-aware. Here 0.5. Their training (``recipe: authors``), PreActResNet-34, batch 128:

        training: {epochs: 400, augment: [crop, flip, cutout],
                   optimizer: {name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5e-4},
                   schedule: {name: multistep, milestones: [200, 300], gamma: 0.1}}

    with weight decay 1e-3 for asymmetric noise. Differs from it in that RandAugment (N 1, M 3) is not offered here.
    Memory: activations of 2 B images.
    """

    def __init__(
        self,
        task: Task,
        *,
        pi: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        scaled: bool = True,
        consistency: bool = True,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.pi, self.scaled, self.consistency = pi, scaled, consistency

    def loader(self, phase: Phase) -> Loader:
        """Two views of every image."""
        return self.task.loader(views=2)

    def step(self, batch: Batch) -> Tensor:
        """One step on both views."""
        first, second = batch.images

        def losses(rows: Tensor | None) -> Tensor:
            views = [first, second] if rows is None else [first[rows], second[rows]]
            labels = batch.labels if rows is None else batch.labels[rows]
            logits = self.logits(torch.cat(views)).chunk(2)
            return generalised_jensen_shannon(logits, labels, self.pi, scaled=self.scaled, consistency=self.consistency)

        return self.learn(first, losses, passes=2)
