"""Two networks that are trained on small-loss samples: what Co-teaching and its kin share."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from noisybench.data.loader import Loader
from noisybench.errors import InputError
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.noise_rate import Estimate, RateSeeker
from noisybench.methods.small_loss import forget_rate_at, keep_counts, mean_over
from noisybench.methods.task import Task
from noisybench.registry import Epochs

Gradual = Annotated[Epochs, Field(ge=1)]
"""Epochs until the full forget rate."""
Exponent = Annotated[float, Field(gt=0)]


class TwoNetworks(RateSeeker):
    """Two networks, and how many small-loss samples to keep in this epoch.

    ``counts`` is the table of ``small_loss.keep_counts`` for R(e), on the device. The first network answers, or with
    ``ensemble`` the mean probability of both.
    """

    def __init__(
        self,
        task: Task,
        *,
        forget_rate: float | None,
        oracle: bool,
        estimate: Estimate,
        estimate_epochs: int,
        gradual: int,
        exponent: float,
        ensemble: bool,
    ) -> None:
        super().__init__(task, rate=forget_rate, oracle=oracle, estimate=estimate, estimate_epochs=estimate_epochs)
        refuse_mixup(task)
        self.gradual, self.exponent, self.ensemble = gradual, exponent, ensemble
        self.networks = [task.model(), task.model()]
        self.counts: Tensor | None = None

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """The number to keep for every number of samples, written in place."""
        assert self.rate is not None
        self.epoch = epoch - (self.estimate_epochs if self.seeking else 0)
        share = forget_rate_at(self.epoch, self.rate, self.gradual, self.exponent)
        counts = keep_counts(share, max(loader.sizes))
        if self.counts is None:
            self.counts = counts.to(self.task.device)
        self.counts.copy_(counts)

    def own_predict(self, images: Tensor) -> Tensor:
        """The first network's logits, or the log mean probability of both."""
        return answer(self.task, self.networks, images, self.ensemble)


def answer(task: Task, networks: Sequence[nn.Module], images: Tensor, ensemble: bool) -> Tensor:
    """The first network's logits ``[B, K]``, or the log of the mean probability of all."""
    if not ensemble:
        return task.forward(networks[0], images)
    together = torch.stack([functional.log_softmax(task.forward(net, images), dim=1) for net in networks])
    return torch.logsumexp(together, dim=0) - math.log(len(networks))


def losses_of(task: Task, network: nn.Module, images: Tensor, labels: Tensor, rows: Tensor | None = None) -> Tensor:
    """The suite's loss per sample ``[B]`` in one forward pass, of all images or of ``rows``."""
    images, labels = (images, labels) if rows is None else (images[rows], labels[rows])
    return task.loss(task.forward(network, images), labels)


def learn(
    task: Task,
    networks: Sequence[nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    images: Tensor,
    labels: Tensor,
    losses: Sequence[Tensor],
    chosen: Sequence[Tensor],
) -> Tensor:
    """One optimiser step of each network on the mean loss over what was chosen for it; returns the mean of the losses.

    ``losses`` ``[B]`` still have their graphs, so that one forward pass serves to rank and to train; ``chosen`` bool
    ``[B]``, one for each network.
    """
    means = []
    for network, optimizer, ready, mask in zip(networks, optimizers, losses, chosen, strict=True):
        again = functools.partial(losses_of, task, network, images, labels)
        closure = WeightedClosure(task, optimizer, again, mean_over(mask), [ready])
        means.append(descend(optimizer, closure, images))
    return torch.stack(means).mean()


def refuse_mixup(task: Task) -> None:
    """InputError where a suite asks for mixup of a method that ranks single images."""
    if task.mixup is not None:
        name = task.spec["method"]["algorithm"]["name"]
        raise InputError(f"algorithm '{name}' ranks single images and cannot be combined with method.mixup; remove it")
