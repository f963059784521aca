"""One network with an objective of its own: what truncated GCE, ELR, GJS, CORES, DMI and peer loss share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from noisybench.errors import InputError
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.task import Task
from noisybench.optim import build_schedule


class OneNetwork(Algorithm):
    """One network and the suite's optimiser. A subclass writes the objective and calls ``learn``."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)

    def logits(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """The network's logits of all ``images`` or of ``rows`` alone."""
        return self.task.forward(self.model, images if rows is None else images[rows])

    def learn(
        self,
        images: Tensor,
        losses: Callable[[Tensor | None], Tensor],
        *,
        weights: Tensor | None = None,
        ready: Tensor | None = None,
        passes: int = 1,
    ) -> Tensor:
        """One step on ``mean_i w_i l_i``; returns it, detached.

        ``losses(rows)`` ``[b]`` of a forward pass. ``ready``: the losses of all images with their graph, where they are
        there already. ``passes``: times that an image goes through the network for its loss.
        """
        if weights is None:
            weights = torch.ones(len(images), device=self.task.device)
        made = [] if ready is None else [ready]
        return descend(
            self.optimizer, WeightedClosure(self.task, self.optimizer, losses, weights, made, passes), images
        )


def refuse_mixup(task: Task, instead: str = "") -> None:
    """InputError where a suite asks for mixup of a method that does not mix, or does so by itself."""
    if task.mixup is not None:
        name = task.spec["method"]["algorithm"]["name"]
        raise InputError(f"algorithm '{name}' cannot be combined with method.mixup; remove it{instead}")


def refuse_other_losses(task: Task) -> None:
    """InputError where a suite states a loss for a method that has its own and would not use it."""
    stated, name = task.spec["method"]["loss"]["name"], task.spec["method"]["algorithm"]["name"]
    if stated != "ce":
        raise InputError(f"algorithm '{name}' has a loss of its own and does not use loss '{stated}'; remove it")


def divided_schedule(training: Mapping[str, Any], strength: Callable[[int], float]) -> Callable[[float], float]:
    """The suite's schedule over the whole training, divided by 1 + ``strength(epoch)``."""
    params, epochs = dict(training["schedule"]), int(training["epochs"])
    schedule = build_schedule(params.pop("name"), **params)
    return lambda position: schedule(position, epochs) / (1 + strength(int(position)))


def observed_classes(task: Task) -> Tensor:
    """Shares ``[K]`` of the noisy labels in the training part."""
    counts = torch.bincount(task.labels[task.index], minlength=task.num_classes)
    return counts / counts.sum()
