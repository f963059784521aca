"""How many labels are wrong, from the noisy data alone: agreement between two folds, or a mixture fitted to losses.

``rate_from_agreement`` and ``rate_from_losses`` are the formulas. ``RateSeeker`` is the base of the methods that need
the rate before they start: where nobody states it, a phase ``estimate`` comes first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from noisybench.data.loader import Loader
from noisybench.methods.algorithm import Algorithm, Phase
from noisybench.methods.descent import descend
from noisybench.methods.erm import BatchClosure
from noisybench.methods.task import Task
from noisybench.registry import Epochs
from noisybench.seeding import Draws

Rate = Annotated[float, Field(ge=0, lt=1)]
"""A share of wrong labels, as a parameter: the expected share, never the nominal rate."""
Estimate = Literal["agreement", "mixture"]
"""Where the rate comes from when nobody states it; see ``RateSeeker``."""
EstimateEpochs = Annotated[Epochs, Field(ge=1)]
"""Epochs of the estimate; INCV trains its halves for 50 of 200."""


# -- formulas -----------------------------------------------------------------------------------------------------


def rate_from_agreement(agreement: float, num_classes: int, step: float = 0.001) -> float:
    """Symmetric noise rate e from the share of held-out samples whose noisy label a network predicts.

    A network that has learnt the noisy labels of one half predicts the other half as wrongly as its labels are wrong:
    agreement = (1 - e)^2 + e^2 / (K - 1)  (Chen et al. 2019, INCV). The smallest multiple e >= ``step`` of ``step``
    with (1 - e)^2 + e^2 / (K - 1) <= agreement, as in the authors' code; an agreement below chance, where they run on
    to 1, gives the rate (K - 1) / K of labels without information. A network that has not learnt the wrong labels
    agrees more often, up to 1 - e, and the formula says too little then: e = 0.4 may look like 0.23.
    """
    most = (num_classes - 1) / num_classes
    rates = step * np.arange(1, int(most / step) + 1)
    enough = (1 - rates) ** 2 + rates**2 / (num_classes - 1) <= agreement + 1e-12
    return float(rates[enough.argmax()]) if enough.any() else most


@dataclass(frozen=True)
class TwoGaussians:
    """A mixture of two normal distributions on the line, the second with the larger mean."""

    weights: np.ndarray  # [2]
    means: np.ndarray
    variances: np.ndarray

    def log_joint(self, values: np.ndarray) -> np.ndarray:
        """log(weight density), ``[N, 2]``."""
        squares = (values[:, None] - self.means) ** 2 / self.variances
        joint: np.ndarray = np.log(self.weights) - 0.5 * (np.log(2 * np.pi * self.variances) + squares)
        return joint

    def posterior(self, values: np.ndarray) -> np.ndarray:
        """Probability of the second component for each value, ``[N]``."""
        joint = self.log_joint(values)
        posterior: np.ndarray = np.exp(joint[:, 1] - np.logaddexp(joint[:, 0], joint[:, 1]))
        return posterior


def fit_two_gaussians(
    values: np.ndarray, *, rounds: int = 100, tolerance: float = 1e-6, smallest_variance: float = 5e-4
) -> TwoGaussians:
    """Expectation maximisation from the values below and above the middle of their range; nothing is drawn.

    ``smallest_variance`` is added to both variances in every round (DivideMix's 5e-4, for values in [0, 1]). Ends when
    the mean log likelihood gains less than ``tolerance``.
    """
    upper = (values > (values.min() + values.max()) / 2).astype(np.float64)
    before = -np.inf
    for _ in range(rounds):
        shares = np.stack([1 - upper, upper], axis=1)
        counts = shares.sum(axis=0) + 1e-10
        means = (shares * values[:, None]).sum(axis=0) / counts
        variances = (shares * (values[:, None] - means) ** 2).sum(axis=0) / counts + smallest_variance
        mixture = TwoGaussians(counts / counts.sum(), means, variances)
        joint = mixture.log_joint(values)
        likelihood = float(np.logaddexp(joint[:, 0], joint[:, 1]).mean())
        upper = mixture.posterior(values)
        if likelihood - before < tolerance:
            break
        before = likelihood
    if mixture.means[0] > mixture.means[1]:
        mixture = TwoGaussians(mixture.weights[::-1], mixture.means[::-1], mixture.variances[::-1])
    return mixture


def rate_from_losses(losses: np.ndarray | Tensor) -> float:
    """Noise rate as the weight of the larger-mean component of two Gaussians fitted to per-sample losses ``[n]``.

    Losses are brought to [0, 1] by their minimum and maximum first, as DivideMix does (Li et al. 2020). Holds for any
    kind of noise, as far as wrong labels have larger losses: measure them before a network has memorised. Equal losses
    give 0.
    """
    values = np.asarray(losses.detach().cpu().numpy() if isinstance(losses, Tensor) else losses, dtype=np.float64)
    low, high = values.min(), values.max()
    if not high - low > 1e-12:
        return 0.0
    return float(fit_two_gaussians((values - low) / (high - low)).weights[1])


# -- methods that need a rate ---------------------------------------------------------------------------------------


class RateSeeker(Algorithm):
    """A method that needs the noise rate before its own first phase.

    ``rate``: as stated; else the true one under ``oracle``; else estimated from the noisy training part in a phase of
    its own, with the suite's network, loss, optimiser and schedule, whose networks are thrown away afterwards:
    ``agreement``, two networks, each trained on one random half and asked about the other, ``rate_from_agreement`` of
    all answers (right for symmetric noise); ``mixture``, one network trained on everything, ``rate_from_losses`` of its
    cross entropies in eval mode. Subclasses write ``own_phases`` and ``own_epoch``, call ``super().begin_phase`` first
    and find the rate in ``self.rate`` from then on.
    """

    state: tuple[str, ...] = ("rate",)

    def __init__(
        self, task: Task, *, rate: float | None, oracle: bool, estimate: Estimate, estimate_epochs: int
    ) -> None:
        super().__init__(task)
        self.rate = task.oracle().noise_rate if rate is None and oracle else rate
        self.estimate, self.estimate_epochs, self.seeking = estimate, estimate_epochs, self.rate is None
        self.seekers: list[torch.nn.Module] = []
        self.seeker_optimizers: list[torch.optim.Optimizer] = []
        self.phase_name = ""

    def own_phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """The method's phases, after the estimate."""
        return [Phase("train", int(training["epochs"]))]

    def own_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch of the method's phases; default: ``begin_epoch``, then ``step`` for each batch."""
        return super().train_epoch(epoch, loader)

    def own_predict(self, images: Tensor) -> Tensor:
        """Logits of the method's networks; default: of ``self.model``."""
        return super().predict(images)

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``estimate`` where nobody stated the rate, then the method's own."""
        first = [Phase("estimate", self.estimate_epochs)] if self.seeking else []
        return first + self.own_phases(training)

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Make the networks that estimate, or read their answer and let them go."""
        if phase.name == "estimate":
            self.seekers = [self.task.model() for _ in self._folds()]
            self.seeker_optimizers = [self.task.optimizer(network) for network in self.seekers]
        elif self.seekers:
            self.rate = self._answer()
            self.task.release(self.seekers, self.seeker_optimizers)
            self.seekers, self.seeker_optimizers = [], []

    def loader(self, phase: Phase) -> Loader:
        """The whole training part."""
        self.phase_name = phase.name
        return super().loader(phase)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch of the estimate, or of the method."""
        if self.phase_name != "estimate":
            return self.own_epoch(epoch, loader)
        total, images = torch.zeros((), device=self.task.device), 0
        for network, optimizer, fold in zip(self.seekers, self.seeker_optimizers, self._folds(), strict=True):
            part = self.task.loader(fold, batch_size=min(loader.batch_size, len(fold)))
            for batch in self.task.batches(part, epoch):
                closure = BatchClosure(self.task, network, optimizer, batch.images, batch.labels, None)
                total += descend(optimizer, closure, batch.images) * len(batch.index)
                images += len(batch.index)
        return total / images

    def predict(self, images: Tensor) -> Tensor:
        """While the rate is sought, what the first network that seeks it says; afterwards the method's answer."""
        return self.task.forward(self.seekers[0], images) if self.seekers else self.own_predict(images)

    def details(self) -> dict[str, float]:
        """``noise_rate``, the rate that was used; ``estimated_noise_rate`` where it is an estimate."""
        if self.rate is None:
            return {}
        return {"noise_rate": self.rate} | ({"estimated_noise_rate": self.rate} if self.seeking else {})

    def _folds(self) -> list[Tensor]:
        """Positions each seeker is trained on: two halves, or everything."""
        index = self.task.index
        if self.estimate == "mixture":
            return [index]
        order = torch.from_numpy(Draws(self.task.seed, "method", "rate folds").permutation(len(index)))
        shuffled = index[order.to(index.device)]
        half = (len(index) + 1) // 2
        return [shuffled[:half].sort().values, shuffled[half:].sort().values]

    def _answer(self) -> float:
        labels, folds = self.task.labels, self._folds()
        answers = [self.task.predict_train(functools.partial(self.task.forward, net)) for net in self.seekers]
        if self.estimate == "mixture":
            return rate_from_losses(functional.cross_entropy(answers[0], labels, reduction="none")[folds[0]])
        agreed = [(answers[i].argmax(dim=1) == labels)[folds[1 - i]] for i in range(2)]
        return rate_from_agreement(float(torch.cat(agreed).double().mean()), self.task.num_classes)
