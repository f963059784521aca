"""T-Revision: importance reweighting with an estimated transition matrix, which is then revised with the network."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Phase
from noisybench.methods.estimated_correction import estimate_transition
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

AUTHORS_SHARE = 20 / 200
"""Epochs of the authors' estimate, of those of their reweighting."""
SMALLEST = 1e-12
"""A noisy label's probability is no less when a weight is divided by it: a confident T-hat has zeros in float32."""


def importance(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """``p_y / (p T)_y`` per sample ``[B]``: how much more often the true class is y than the noisy label."""
    p = softmax(logits, dim=1)
    clean, noisy = (q.gather(1, labels.unsqueeze(1)).squeeze(1) for q in (p, p @ transition))
    return clean / noisy.clamp(min=SMALLEST)


def reweighted(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """``w CE`` per sample ``[B]``, w the importance, without gradient."""
    return importance(logits, labels, transition).detach() * cross_entropy(logits, labels, reduction="none")


def revised(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """``w CE`` per sample ``[B]``, differentiable through w also, and so in T."""
    return importance(logits, labels, transition) * cross_entropy(logits, labels, reduction="none")


@algorithm("t_revision", cite="xia2019trevision", uses_holdout=True)  # its noisy labels choose each stage's epoch
class TRevision(OneNetwork):
    """T-Revision, mean_i p_iy / (p_i (T + D))_y CE(z_i, y_i), in three stages  (Xia et al. 2019, algorithm 1).

    ``estimate`` (``estimate_epochs``, null: the authors' share, a tenth of ``training.epochs``, at least 1): cross
    entropy on the noisy labels, then T-hat from the training part's predictions (``estimate_transition``). ``reweight``
    (``training.epochs``): from there on, cross entropy weighted by importance with T-hat and D = 0; weights carry no
    gradient. ``revise`` (``revision_epochs``, null: ``training.epochs``): the weights carry gradient, to the network
    and to D ``[K, K]``, 0 at first. The suite's schedule in the first two stages. Each stage goes on from the epoch
    with the best accuracy on the noisy hold-out (``dataset.validation``; in ``reweight`` that of p T-hat), the earliest
    of equals, as the authors'; without a hold-out from the last, when T-hat of a network that has memorised is too
    close to the identity.

    In ``revise`` both rates are constant: the suite's optimiser, made anew, at its base rate times
    ``revision_factor``, and Adam for D at ``revision_rate``, weight decay 1e-4. The authors have Adam at 5e-7 for both,
    which is why D stays within some 0.04 of 0 in their 70,000 steps; 0.01 is the factor with which their ``reweight``
    ends. Nothing binds the rows of T + D to sum 1, and the loss falls as any entry grows: a rate that moves D far
    undoes T-hat. With SAM D's gradient is that of the unperturbed weights.

    ``outlier_filter`` as in ``estimated_correction``: the authors', off for CIFAR-100, where ``estimate_epochs`` is 15.
    Their training (``recipe: authors``), ResNet-18 or 34, batch 128, crop and flip, 10 % held out:

        training: {epochs: 200, optimizer: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.1}}

    with a constant rate and no momentum in ``estimate``. Differs from their code in that D counts once for every
    image (there it is added to T again with each image of a batch), in the estimator's predictions without
    augmentation and its filter, in the rows of T-hat being brought to sum 1 (there columns are divided, of rows that
    sum to 1 anyway), and in (p T)_y >= 1e-12. ``estimated_noise_rate``: 1 - mean of the diagonal of T-hat + D, rows
    brought to sum 1; ``largest_revision``: of |D|; ``estimated_in_epoch`` and ``reweighted_until_epoch`` count from 1.
    Memory: with a hold-out the network twice.
    """

    capturable = False  # two optimisers in a step
    state = ("transition", "best_accuracy", "estimated_in", "reweighted_until", "phase_name")

    def __init__(
        self,
        task: Task,
        *,
        estimate_epochs: Annotated[Epochs, Field(ge=1)] | None = None,
        revision_epochs: Annotated[Epochs, Field(ge=1)] | None = None,
        revision_factor: Annotated[float, Field(gt=0)] = 0.01,
        revision_rate: Annotated[float, Field(gt=0)] = 5e-7,
        outlier_filter: bool = True,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        share = max(1, math.floor(AUTHORS_SHARE * int(task.training["epochs"]) + 0.5))
        self.estimate_epochs, self.revision_epochs = estimate_epochs or share, revision_epochs
        self.revision_factor, self.outlier_filter = revision_factor, outlier_filter
        self.transition = torch.eye(task.num_classes, device=task.device)
        self.best_accuracy, self.estimated_in, self.reweighted_until, self.phase_name = -1.0, 0, 0, ""
        self.revision = nn.ParameterList([torch.zeros(task.num_classes, task.num_classes, device=task.device)])
        self.revision_optimizer = task.drive(
            torch.optim.Adam(self.revision.parameters(), lr=revision_rate, weight_decay=1e-4)
        )
        if len(task.holdout):
            self.best = task.model()

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``estimate``, ``reweight``, ``revise``."""
        epochs = int(training["epochs"])
        return [
            Phase("estimate", self.estimate_epochs),
            Phase("reweight", epochs),
            Phase("revise", self.revision_epochs or epochs, lambda position: 1.0),
        ]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Go on from the best weights with a new optimiser."""
        self.phase_name, self.best_accuracy = phase.name, -1.0
        if phase.name == "estimate":
            return
        if len(self.task.holdout):
            self.model.load_state_dict(self.best.state_dict())
        elif phase.name == "reweight":
            self._estimate(self.task.epoch)
        else:
            self.reweighted_until = self.task.epoch
        self.task.release([], [self.optimizer])
        self.optimizer = self.task.optimizer(self.model)
        if phase.name == "revise":
            for group in self.optimizer.param_groups:
                group["initial_lr"] *= self.revision_factor

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; before ``revise`` followed by a look at the hold-out, whose best epoch is kept."""
        mean = super().train_epoch(epoch, loader)
        task = self.task
        if self.phase_name == "revise" or not len(task.holdout):
            return mean
        logits = task.evaluate(functools.partial(task.forward, self.model), task.images[task.holdout])
        estimating = self.phase_name == "estimate"
        noisy = logits if estimating else softmax(logits, dim=1) @ self.transition
        accuracy = float((noisy.argmax(dim=1) == task.labels[task.holdout]).double().mean())
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            self.best.load_state_dict(self.model.state_dict())
            if estimating:
                self._estimate(epoch + 1)
            else:
                self.reweighted_until = epoch + 1
        return mean

    def step(self, batch: Batch) -> Tensor:
        """One step on cross entropy or on the reweighted one; in ``revise`` also one of D, in one forward pass."""
        images, labels = batch.images, batch.labels
        if self.phase_name == "revise":
            return self._revise(images, labels)

        def losses(rows: Tensor | None) -> Tensor:
            logits, y = self.logits(images, rows), labels if rows is None else labels[rows]
            if self.phase_name == "estimate":
                return self.task.loss(logits, y)
            return reweighted(logits, y, self.transition)

        return self.learn(images, losses)

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``, ``largest_revision``, ``estimated_in_epoch``, ``reweighted_until_epoch``."""
        revision = self.revision[0].detach()
        t = self.transition + revision
        return {
            "estimated_noise_rate": 1 - float((t.diagonal() / t.sum(dim=1)).mean()),
            "largest_revision": float(revision.abs().max()),
            "estimated_in_epoch": float(self.estimated_in),
            "reweighted_until_epoch": float(self.reweighted_until),
        }

    def _revise(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.logits(images)
        self.revision_optimizer.zero_grad()
        loss = revised(logits.detach(), labels, self.transition + self.revision[0]).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        t = self.transition + self.revision[0].detach()

        def losses(rows: Tensor | None) -> Tensor:
            return revised(self.logits(images, rows), labels if rows is None else labels[rows], t)

        mean = self.learn(images, losses, ready=revised(logits, labels, t))
        self.revision_optimizer.step()
        return mean

    def _estimate(self, epoch: int) -> None:
        task = self.task
        logits = task.evaluate(functools.partial(task.forward, self.model), task.images[task.index])
        probabilities = softmax(logits.cpu().double(), dim=1)
        estimate = estimate_transition(probabilities, outlier_filter=self.outlier_filter)
        self.transition = estimate.float().to(task.device)
        self.estimated_in = epoch
