"""CORES: confidence regularisation and a sieve that removes samples whose label is worse than a random one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import (
    OneNetwork,
    divided_schedule,
    observed_classes,
    refuse_mixup,
    refuse_other_losses,
)
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

SHIFT = math.log(1e-8)
"""The regulariser takes -log(p + 1e-8): without the shift it would reward confidence without bound."""


def class_losses(logits: Tensor) -> Tensor:
    """``-log(p_k + 1e-8)`` for every class, ``[B, K]``."""
    log_p = log_softmax(logits, dim=1)
    return -torch.logaddexp(log_p, torch.full_like(log_p, SHIFT))


def regularised(logits: Tensor, labels: Tensor, beta: float | Tensor, prior: Tensor) -> Tensor:
    """``CE - beta sum_k prior_k (-log(p_k + 1e-8))`` per sample ``[B]``; ``prior`` ``[K]``."""
    return cross_entropy(logits, labels, reduction="none") - beta * class_losses(logits) @ prior


def sieve_metric(logits: Tensor, labels: Tensor) -> Tensor:
    """``CE - mean_k(-log(p_k + 1e-8))`` per sample ``[B]``: above 0 the label fits worse than a random one."""
    return cross_entropy(logits, labels, reduction="none") - class_losses(logits).mean(dim=1)


def beta_at(epoch: int, begin: int, rise: int, beta: float) -> float:
    """0 before epoch ``begin``, then ``rise`` values from 0 to ``beta`` at equal steps, both ends included, then beta.

    As ``numpy.linspace``: the first of them is 0 again.
    """
    if epoch < begin:
        return 0.0
    return beta * min(1.0, (epoch - begin) / (rise - 1)) if rise > 1 else beta


@algorithm("cores", cite="cheng2021cores")
class Cores(OneNetwork):
    """CORES, phase 1: mean over kept samples of CE - beta(e) sum_k prior_k (-log(p_k + 1e-8))  (Cheng et al. 2021).

    beta(e) is 0 for ``begin`` epochs, rises to ``beta`` over ``rise`` and stays. From the epoch after ``sieve_after``
    (0-based) on a sample is kept where CE - mean_k(-log(p_k + 1e-8)) <= 0 by the forward pass it is trained with
    (train mode, augmented); before, all are. The mean is over the kept; a batch without any gives no gradient. The
    suite's learning rate is divided by 1 + beta(e), as the authors'. ``prior``: ``kept``, the class shares of the noisy
    labels that the last epoch kept, as the authors' runs; ``uniform``, 1 / K.

    Their training (``recipe: authors``), ResNet-34, batch 64, crop and flip, without momentum or weight decay:

        training: {epochs: 100, batch_size: 64, optimizer: {name: sgd, lr: 0.1, momentum: 0, weight_decay: 0},
                   schedule: {name: multistep, milestones: [50], gamma: 0.1}}

    Phase 2 of the authors (consistency training on what the sieve leaves) is ``cores2``. Differs from their code in
    that a batch with nothing kept changes nothing (there a tiny loss whose type breaks the caller).
    ``kept_share``: share of the training part that the last epoch kept. Memory: nothing beside the network.
    """

    state: tuple[str, ...] = ("prior", "kept")

    def __init__(
        self,
        task: Task,
        *,
        beta: Annotated[float, Field(ge=0)] = 2.0,
        begin: Annotated[Epochs, Field(ge=0)] = 10,
        rise: Annotated[Epochs, Field(ge=1)] = 30,
        sieve_after: Annotated[Epochs, Field(ge=0)] = 30,
        prior: Literal["kept", "uniform"] = "kept",
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.full, self.first, self.rise, self.sieve_after = beta, begin, rise, sieve_after
        self.prior_from = prior
        self.prior = torch.full((task.num_classes,), 1 / task.num_classes, device=task.device)
        if prior == "kept":
            self.prior.copy_(observed_classes(task))
        self.kept = torch.zeros(task.num_classes, device=task.device)
        self.beta = torch.zeros((), device=task.device)
        self.sieving = torch.zeros((), dtype=torch.bool, device=task.device)

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """One, at the suite's learning rate divided by 1 + beta."""
        return [Phase("train", int(training["epochs"]), divided_schedule(training, self._beta_at))]

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """This epoch's beta; nothing kept yet."""
        self.beta.fill_(self._beta_at(epoch))
        self.sieving.fill_(epoch > self.sieve_after)
        self.kept.zero_()

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; the classes of what it kept are the next one's prior."""
        mean = super().train_epoch(epoch, loader)
        if self.prior_from == "kept":
            total = self.kept.sum()
            self.prior.copy_(torch.where(total > 0, self.kept / total.clamp(min=1), self.prior))
        return mean

    def step(self, batch: Batch) -> Tensor:
        """Sieve and learn in one forward pass."""
        images, labels = batch.images, batch.labels
        logits = self.logits(images)
        fits = sieve_metric(logits.detach(), labels) <= 0
        keep = fits | ~self.sieving
        self.note(batch, fits, keep)
        weights = keep * (len(labels) / keep.sum().clamp(min=1))

        def losses(rows: Tensor | None) -> Tensor:
            y = labels if rows is None else labels[rows]
            return regularised(self.logits(images, rows), y, self.beta, self.prior)

        return self.learn(images, losses, weights=weights, ready=regularised(logits, labels, self.beta, self.prior))

    def note(self, batch: Batch, fits: Tensor, keep: Tensor) -> None:
        """Count what is kept ``[B]``, by class; ``fits`` ``[B]``: the label is no worse than a random one."""
        self.kept.index_add_(0, batch.labels, keep.to(self.kept.dtype))

    def details(self) -> dict[str, float]:
        """``kept_share``."""
        seen = self.task.loader().images_per_epoch
        return {"kept_share": float(self.kept.sum()) / seen}

    def _beta_at(self, epoch: int) -> float:
        return beta_at(epoch, self.first, self.rise, self.full)
