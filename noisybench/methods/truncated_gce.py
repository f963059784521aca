"""Truncated generalised cross entropy: samples whose label has a small probability are left out."""

from __future__ import annotations

import functools
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.data.loader import Batch, Loader
from noisybench.losses import build_loss
from noisybench.losses.log_space import at_label
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm


def truncation(k: float, q: float) -> float:
    """Lq(k) = (1 - k^q) / q: the loss of a sample whose label has probability k."""
    return float(1 - k**q) / q


def kept(logits: Tensor, labels: Tensor, k: float) -> Tensor:
    """bool ``[B]``: the label's probability is above k, in other words Lq(p_y) < Lq(k)."""
    return at_label(log_softmax(logits, dim=1), labels) > math.log(k)


@algorithm("truncated_gce", cite="zhang2018gce")
class TruncatedGCE(OneNetwork):
    """Truncated GCE with pruning, mean_i w_i (Lq(p_y) - Lq(k)), Lq(p) = (1 - p^q) / q  (Zhang & Sabuncu 2018, eq. 14).

    Every w_i is 1 at first. Before epoch ``start_prune`` (counted from 1) and every ``every`` epochs from there on, all
    weights are set anew: w_i = 1 where p_y > k, else 0, by the network as it stands, in eval mode, without
    augmentation; samples can come back. The mean is over the batch, not over the kept. An emptied batch gives no
    gradient (weight decay goes on). The reported loss can be negative: it counts from Lq(k).

    Authors' defaults: q 0.7, k 0.5, CIFAR-10, ResNet-34, batch 128, crop, flip. Their training (``recipe: authors``):

        training: {epochs: 120, optimizer: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.1}}

    Differs from AlanChou/Truncated-Loss, an unofficial implementation, which sets the weights with the checkpoint of
    the best *test* accuracy and through augmented, shuffled batches; and in that the gradient is finite where p_y
    underflows. ``kept_share``: share of the training part with weight 1 at the end. Memory: one number an image.
    """

    state = ("weights",)

    def __init__(
        self,
        task: Task,
        *,
        q: Annotated[float, Field(gt=0, le=1)] = 0.7,
        k: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        start_prune: Annotated[Epochs, Field(ge=1)] = 40,
        every: Annotated[Epochs, Field(ge=1)] = 10,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.k, self.start_prune, self.every = k, start_prune, every
        self.gce, self.limit = build_loss("gce", q=q), truncation(k, q)
        self.weights = torch.ones(len(task.labels), device=task.device)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Set the weights anew in the epochs that ask for it."""
        since = epoch + 1 - self.start_prune
        if since >= 0 and since % self.every == 0:
            logits = self.task.predict_train(functools.partial(self.task.forward, self.model))
            self.weights.copy_(kept(logits, self.task.labels, self.k))

    def step(self, batch: Batch) -> Tensor:
        """One step on the weighted batch."""

        def losses(rows: Tensor | None) -> Tensor:
            labels = batch.labels if rows is None else batch.labels[rows]
            return self.gce(self.logits(batch.images, rows), labels) - self.limit

        return self.learn(batch.images, losses, weights=self.weights[batch.index])

    def details(self) -> dict[str, float]:
        """``kept_share``."""
        return {"kept_share": float(self.weights[self.task.index].double().mean())}
