"""CAL: covariance-assisted learning, which takes the covariances of label and loss within each class off the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

from noisybench.data.loader import Batch, Loader
from noisybench.losses.log_space import at_label
from noisybench.methods.algorithm import Phase
from noisybench.methods.cores import class_losses
from noisybench.methods.one_network import OneNetwork, observed_classes, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.optim import build_schedule
from noisybench.registry import Epochs, algorithm

SHIFT = math.log(1e-5)
THRESHOLD = -8.0
"""Below it the sieve trusts a label: the network must be sure of it and all but exclude the other classes."""
AUTHORS_SIEVE, AUTHORS_BEGIN, AUTHORS_RISE = 66 / 100, 10 / 100, 30 / 100


def bounded_class_losses(logits: Tensor) -> Tensor:
    """``-log(p_k + 1e-5)`` for every class, ``[B, K]``."""
    log_p = log_softmax(logits, dim=1)
    return -torch.logaddexp(log_p, torch.full_like(log_p, SHIFT))


def peered(logits: Tensor, labels: Tensor, alpha: float | Tensor, prior: Tensor) -> Tensor:
    """``-log(p_y + 1e-8) - alpha sum_k prior_k (-log(p_k + 1e-5))`` per sample ``[B]``; ``prior`` ``[K]``."""
    return at_label(class_losses(logits), labels) - alpha * bounded_class_losses(logits) @ prior


def distil(logits: Tensor, labels: Tensor) -> Tensor:
    """Labels ``[B]``: the given one where the network is sure of it, its prediction elsewhere."""
    losses = class_losses(logits)
    metric = at_label(losses, labels) - losses.mean(dim=1)
    return torch.where(metric < THRESHOLD, labels, logits.argmax(dim=1))


def joint_shares(distilled: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Shares of the distilled classes ``[K]``, and of the noisy labels within each ``[K, K]``, from labels ``[n]``."""
    classes = one_hot(distilled, num_classes).double()
    counts = classes.sum(dim=0)
    return counts / len(labels), classes.T @ one_hot(labels, num_classes).double() / counts.clamp(min=1).unsqueeze(1)


def covariances(logits: Tensor, labels: Tensor, distilled: Tensor, transition: Tensor, means: Tensor) -> Tensor:
    """``sum_j (1[y = j] - T[d][j]) (l_j - means[d][j])`` per sample ``[B]``, l_j = -log(p_j + 1e-5), d its distilled
    class: the mean over the samples of class d estimates sum_j Cov(1[y = j], l_j | d)."""
    centred = one_hot(labels, logits.shape[1]) - transition[distilled]
    return (centred * (bounded_class_losses(logits) - means[distilled])).sum(dim=1)


def class_weights(distilled: Tensor, shares: Tensor) -> Tensor:
    """``B P(d) / (number of the batch's samples of class d)`` per sample ``[B]``: turns the batch's mean into the sum
    over classes of P(d) times the class's mean."""
    counts = one_hot(distilled, len(shares)).sum(dim=0)
    return len(distilled) * (shares / counts.clamp(min=1))[distilled]


def alpha_at(epoch: int, begin: int, rise: int, full: float) -> float:
    """0 up to epoch ``begin`` (0-based), then in a straight line to ``full`` at epoch ``begin + rise``, which stays."""
    if epoch < begin:
        return 0.0
    return full * min(1.0, (epoch - begin) / rise) if rise else full


@algorithm("cal", cite="zhu2021cal")
class CovarianceAssistedLearning(OneNetwork):
    """CAL, CE - alpha(e) sum_k prior_k l_k - sum_d P(d) sum_j Cov(1[y = j], l_j | d), two stages  (Zhu et al. 2021).

    Where noise depends on the image, wrong labels and losses covary within a class. Taking these covariances off leaves
    what noise that depends on the class alone would give, which the peer term resists: l_k = -log(p_k + 1e-5), weighted
    by ``prior_factor`` times a prior. CE is -log(p_y + 1e-8).

    ``sieve`` (``sieve_epochs``): CE less the peer term, alpha rising to ``sieve_alpha``, prior the square roots of the
    noisy labels' shares, brought to sum 1. Each image gets a distilled label d: its own where
    CE - mean_k(-log(p_k + 1e-8)) < -8, elsewhere the network's prediction, by the forward pass with which the last
    epoch trained on it (train mode, augmented). ``train`` (``training.epochs``): a new network, alpha rising to
    ``alpha``, prior the noisy labels' shares, less the covariances: P(d) and T[d][j] = P(y = j | d) from all images,
    means of l_j within d from the epoch before (0 in the first), the product's mean over the batch's images of d.

    alpha is 0 for ``begin`` epochs and rises over ``rise``; the learning rate is the suite's divided by 1 + alpha.
    ``sieve`` follows the schedule of ``training.epochs``, cut off. Durations left out (null) are the authors' shares of
    ``training.epochs``: ``sieve_epochs`` 66 %, ``begin`` 10 %, ``rise`` 30 %. Micro-batches (SAM with m) share their
    batch's class counts.

    Defaults are the authors' for CIFAR-10; CIFAR-100: ``sieve_alpha: 1, prior_factor: 10``. Their training (``recipe:
    authors``), ResNet-34, batch 128, crop and flip:

        training: {epochs: 100, optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 5e-4},
                   schedule: {name: step, every: 60, gamma: 0.1}}

    Equals their code, but that means are over the images seen (``drop_last``), and that a class all of whose images
    have one noisy label keeps its means up to date, which changes nothing: its covariances are 0.
    ``estimated_noise_rate``: share of the training part whose distilled label is not its label. Memory: a label an
    image; one network at a time.
    """

    state = ("distilled", "means", "phase_name", "began")

    def __init__(
        self,
        task: Task,
        *,
        sieve_epochs: Annotated[Epochs, Field(ge=1)] | None = None,
        sieve_alpha: Annotated[float, Field(ge=0)] = 2.0,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        begin: Annotated[Epochs, Field(ge=0)] | None = None,
        rise: Annotated[Epochs, Field(ge=0)] | None = None,
        prior_factor: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)

        def share(epochs: int | None, authors: float) -> int:
            return math.floor(authors * int(task.training["epochs"]) + 0.5) if epochs is None else epochs

        self.sieve_epochs = max(1, share(sieve_epochs, AUTHORS_SIEVE))
        self.begin, self.rise = share(begin, AUTHORS_BEGIN), share(rise, AUTHORS_RISE)
        self.sieve_alpha, self.full_alpha, self.prior_factor = sieve_alpha, alpha, prior_factor
        classes = task.num_classes
        self.distilled = task.labels.clone()
        self.means = torch.zeros(classes, classes, device=task.device)
        self.phase_name, self.began = "", 0
        self.alpha = torch.zeros((), device=task.device)
        self.prior = observed_classes(task)
        self.shares = self.transition = torch.zeros(0)
        self.losses_seen = torch.zeros(classes, classes, device=task.device)
        self.images_seen = torch.zeros(classes, device=task.device)

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``sieve``, then ``train``, at the suite's learning rate divided by 1 + alpha."""
        params, epochs = dict(training["schedule"]), int(training["epochs"])
        schedule = build_schedule(params.pop("name"), **params)

        def factor(full: float, whole: int, position: float) -> float:
            return schedule(position, whole) / (1 + self._alpha_at(int(position), full))

        whole = max(epochs, self.sieve_epochs)
        return [
            Phase("sieve", self.sieve_epochs, lambda position: factor(self.sieve_alpha, whole, position)),
            Phase("train", epochs, lambda position: factor(self.full_alpha, epochs, position)),
        ]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Start ``train`` with a new network."""
        self.phase_name, self.began = phase.name, self.task.epoch
        if phase.name == "train":
            self.task.release([self.model], [self.optimizer])
            self.model = self.task.model()
            self.optimizer = self.task.optimizer(self.model)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """This epoch's alpha, prior and joint shares; no losses seen yet."""
        task, prior = self.task, observed_classes(self.task)
        if self.phase_name == "sieve":
            prior = prior.sqrt() / prior.sqrt().sum()
        elif not self.shares.numel():
            index = task.index
            shares, transition = joint_shares(self.distilled[index], task.labels[index], task.num_classes)
            self.shares, self.transition = shares.float(), transition.float()
        full = self.sieve_alpha if self.phase_name == "sieve" else self.full_alpha
        self.alpha.fill_(self._alpha_at(epoch - self.began, full))
        self.prior = self.prior_factor * prior
        self.losses_seen.zero_()
        self.images_seen.zero_()

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; in ``train`` its mean losses within each class are the next one's."""
        mean = super().train_epoch(epoch, loader)
        if self.phase_name == "train":
            seen = self.images_seen.unsqueeze(1)
            self.means = torch.where(seen > 0, self.losses_seen / seen.clamp(min=1), self.means)
        return mean

    def step(self, batch: Batch) -> Tensor:
        """One step, in one forward pass."""
        images, labels = batch.images, batch.labels
        logits = self.logits(images)
        if self.phase_name == "sieve":
            self.distilled[batch.index] = distil(logits.detach(), labels)

            def objective(logits: Tensor, rows: Tensor | slice) -> Tensor:
                return peered(logits, labels[rows], self.alpha, self.prior)
        else:
            distilled, means = self.distilled[batch.index], self.means
            weights = class_weights(distilled, self.shares)
            self.losses_seen.index_add_(0, distilled, bounded_class_losses(logits.detach()))
            self.images_seen.index_add_(0, distilled, torch.ones_like(weights))

            def objective(logits: Tensor, rows: Tensor | slice) -> Tensor:
                taken_off = covariances(logits, labels[rows], distilled[rows], self.transition, means)
                return peered(logits, labels[rows], self.alpha, self.prior) - weights[rows] * taken_off

        return self.learn(
            images,
            lambda rows: objective(self.logits(images, rows), slice(None) if rows is None else rows),
            ready=objective(logits, slice(None)),
        )

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``."""
        index = self.task.index
        wrong = self.distilled[index] != self.task.labels[index]
        return {"estimated_noise_rate": float(wrong.double().mean())}

    def _alpha_at(self, position: int, full: float) -> float:
        return alpha_at(position, self.begin, self.rise, full)
