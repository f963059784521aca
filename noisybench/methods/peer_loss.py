"""Peer loss: agreement with the labels, less agreement with labels drawn at random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.data.loader import Batch, Loader
from noisybench.errors import ParameterError
from noisybench.losses.log_space import at_label
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import OneNetwork, divided_schedule, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import Draws

SHIFT = math.log(1e-5)
MILESTONES = [20, 40]
ALPHAS = [0.0, 1.0]


def bounded_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log(p_y + 1e-5)`` per sample ``[B]``, at most 11.5, so that its negative has a bound."""
    log_p_y = at_label(log_softmax(logits, dim=1), labels)
    return -torch.logaddexp(log_p_y, torch.full_like(log_p_y, SHIFT))


def peer_loss(logits: Tensor, labels: Tensor, peers: Tensor, alpha: float | Tensor) -> Tensor:
    """``l(z_i, y_i) - alpha l(z_i, peer_i)`` per sample ``[B]``, l the bounded cross entropy."""
    return bounded_cross_entropy(logits, labels) - alpha * bounded_cross_entropy(logits, peers)


@algorithm("peer_loss", cite="liu2020peerloss")
class PeerLoss(OneNetwork):
    """Peer loss, mean_i l(f(x_i), y_i) - alpha(e) l(f(x_i), y_j), j drawn at random  (Liu & Guo 2020, eq. 5).

    y_j is the noisy label of an image drawn uniformly from the training part for each sample of the batch; l is
    -log(p_y + 1e-5), bounded as in the multi-class code, because cross entropy with a minus sign is not. alpha(e) runs
    straight between ``alphas`` at the epochs ``milestones``, is the first before and the last after. The suite's
    learning rate is divided by 1 + alpha(e), as there.

    Default: 0 for 20 epochs, then to 1 over 20. weijiaheng/Multi-class-Peer-Loss-functions raises alpha to 20 on
    CIFAR-10 with sparse noise (``milestones: [20, 40, 90, 140, 240, 340], alphas: [0, 1, 2, 5, 10, 20]``), with uniform
    noise 0 to 0.1, then from 1 to 5 (``milestones: [20, 39, 40, 90, 140, 240, 340], alphas: [0, 0.1, 1, 2, 2.5, 3.3,
    5]``): overrides by noise, rate-aware. Its training (``recipe: authors``), ResNet-18, batch 128:

        training: {epochs: 300, drop_last: true, optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: step, every: 40, gamma: 0.1}}

    Differs from that code, which draws the images of the second term too, for a second forward pass: here they are the
    batch's own, independent of the labels drawn, so that the expectation is the same. Memory: that of one network.
    """

    def __init__(
        self,
        task: Task,
        *,
        milestones: list[Epochs] = MILESTONES,
        alphas: list[Annotated[float, Field(ge=0)]] = ALPHAS,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.milestones, self.alphas = milestones, alphas
        if len(self.milestones) != len(self.alphas) or not self.alphas:
            raise ParameterError(
                f"must be as many as milestones ({len(self.milestones)}), not {len(self.alphas)}", key="alphas"
            )
        if any(b < a for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ParameterError("must be ascending epochs", key="milestones")
        self.alpha = torch.zeros((), device=task.device)

    def alpha_at(self, epoch: int) -> float:
        """alpha in this epoch (0-based)."""
        return float(np.interp(epoch, self.milestones, self.alphas))

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """One, at the suite's learning rate divided by 1 + alpha."""
        return [Phase("train", int(training["epochs"]), divided_schedule(training, self.alpha_at))]

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """This epoch's alpha and random labels."""
        task = self.task
        self.alpha.fill_(self.alpha_at(epoch))
        drawn = Draws(task.seed, "method", "peers", epoch).integers(loader.images_per_epoch, len(task.index))
        labels = task.labels[task.index][torch.from_numpy(drawn).to(task.device)]
        self._peers = iter(torch.split(labels, loader.sizes))

    def step_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The batch's random labels."""
        return (next(self._peers),)

    def step(self, batch: Batch) -> Tensor:
        """One step."""
        images, labels, (peers,) = batch.images, batch.labels, batch.inputs

        def losses(rows: Tensor | None) -> Tensor:
            y, random = (labels, peers) if rows is None else (labels[rows], peers[rows])
            return peer_loss(self.logits(images, rows), y, random, self.alpha)

        return self.learn(images, losses)
