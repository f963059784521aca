"""Contrast to Divide: DivideMix, or ELR+, from networks that have learnt without labels first."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from noisybench.data.loader import Loader
from noisybench.methods import mixmatch
from noisybench.methods.contrastive import (
    VIEWS,
    ContrastiveStart,
    Dimensions,
    Start,
    StartBatch,
    StartEpochs,
    StartRate,
    Temperature,
    Views,
)
from noisybench.methods.dividemix import DivideMix
from noisybench.methods.elr import Memory, Strength
from noisybench.methods.elr_plus import EarlyLearningRegularisationPlus
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

ROUNDS = 200
"""Rounds of the mixture in the authors' code; DivideMix has 10."""
MARGIN = 1e-5


def inside(threshold: float, posterior: np.ndarray) -> float:
    """The threshold, moved between the smallest and the largest probability so that neither set is empty."""
    return float(np.clip(threshold, posterior.min() + MARGIN, posterior.max() - MARGIN))


@algorithm("c2d", cite="zheltonozhskii2022c2d", ensemble=2)
class ContrastToDivide(ContrastiveStart, DivideMix):
    """C2D: SimCLR without labels, then DivideMix from there with a short warm-up  (Zheltonozhskii et al. 2022).

    One network learns without labels as in ``simclr_start`` (its parameters ``start_...``); what it has learnt, batch
    norm's statistics included, starts both networks of DivideMix, each with a classifier of its own, as initialised.
    Early losses then tell right from wrong labels better, and ``warm_up`` is 5 epochs, 10 or 30 in DivideMix. The other
    parameters are ``dividemix``'s, and its docstring says how they work. Three things differ from it, as in the
    authors' code: the second network's images are divided after the first has been trained, not before; the mixture
    has up to 200 rounds; ``threshold`` is moved between the smallest and the largest probability, so that neither set
    is empty. With ``average`` > 1 losses of the warm-up count too.

    Authors' training (``recipe: authors``), ResNet-18, ``batch_size: 128`` (their 64 labelled images a step):

        training: {epochs: 361, optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 5e-4},
                   schedule: {name: multistep, milestones: [150, 300], gamma: 0.1}}
        algorithm: {name: c2d, start_epochs: 1000, start_batch_size: 1024, start_lr: 0.5}

    The start is SupContrast's, to whose code they refer; their own settings for it are not in their repository, which
    loads finished weights. ``lambda_u`` is 25 by default there and 500, with ``threshold: 0.03``, in their example of
    CIFAR-100 with 80 % noise; ``average: 5`` from 90 % on and ``confidence_penalty`` under asymmetric noise are set by
    the true noise, overrides here. Differs from their code in that ``training.clip`` bounds gradients in all phases
    (there at norm 1, in the warm-up alone) and in what ``dividemix`` and ``simclr_start`` say.

    Memory: as ``dividemix``; in the first phase as ``simclr_start`` and a second network.
    """

    def __init__(
        self,
        task: Task,
        *,
        start_epochs: StartEpochs = None,
        start_batch_size: StartBatch = None,
        start_lr: StartRate = None,
        start_temperature: Temperature = 0.5,
        start_dimensions: Dimensions = 128,
        start_augment: Views = VIEWS,
        warm_up: Annotated[Epochs, Field(ge=1)] = 5,
        lambda_u: Annotated[float, Field(ge=0)] = 25.0,
        ramp: Annotated[Epochs, Field(ge=0)] = 16,
        alpha: Annotated[float, Field(gt=0)] = 4.0,
        temperature: Annotated[float, Field(gt=0)] = 0.5,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
        average: Annotated[int, Field(ge=1)] = 1,
        confidence_penalty: bool = False,
        batch_size: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__(
            task,
            warm_up=warm_up,
            lambda_u=lambda_u,
            ramp=ramp,
            alpha=alpha,
            temperature=temperature,
            threshold=threshold,
            average=average,
            confidence_penalty=confidence_penalty,
            batch_size=batch_size,
        )
        self.prepare(
            Start(start_epochs, start_batch_size, start_lr, start_temperature, start_dimensions, start_augment)
        )

    @property
    def encoder(self) -> nn.Module:
        """The first network."""
        return self.networks[0]

    def begin_method(self) -> None:
        """The second network gets what the first has learnt."""
        self.representation.copy(self.networks[0], self.networks[1])

    def _warm_up(self, epoch: int, loader: Loader) -> list[Tensor]:
        passes = super()._warm_up(epoch, loader)
        if self.average > 1:
            for number in range(2):
                self.divide(number, epoch)
        return passes

    def _co_divide(self, epoch: int, loader: Loader) -> list[Tensor]:
        """The second network's split and a pass over it of the first, then the other way round."""
        return [self._train_on(self.divide(1 - number, epoch), number, epoch, loader) for number in range(2)]

    def _posterior(self, losses: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        return mixmatch.split_by_loss(losses, seed, ROUNDS)

    def _cut(self, posterior: np.ndarray) -> float:
        return inside(self.threshold, posterior)


@algorithm("c2d_elr_plus", cite="zheltonozhskii2022c2d", ensemble=2)
class ContrastToDivideELRPlus(ContrastiveStart, EarlyLearningRegularisationPlus):
    """C2D with ELR+: SimCLR without labels, then ELR+ from there  (Zheltonozhskii et al. 2022).

    One network learns without labels as in ``simclr_start`` (its parameters ``start_...``); what it has learnt starts
    both networks of ELR+ and their averages, each network with a classifier of its own, as initialised. The rest is
    ``elr_plus``, unchanged, as the authors say of theirs: the original code with other weights to begin with.

    Memory: as ``elr_plus``; in the first phase as ``simclr_start`` besides.
    """

    def __init__(
        self,
        task: Task,
        *,
        start_epochs: StartEpochs = None,
        start_batch_size: StartBatch = None,
        start_lr: StartRate = None,
        start_temperature: Temperature = 0.5,
        start_dimensions: Dimensions = 128,
        start_augment: Views = VIEWS,
        lambda_: Strength = 3.0,
        beta: Memory = 0.7,
        alpha: Annotated[float, Field(gt=0)] = 1.0,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.997,
        average_ramp: Annotated[Epochs, Field(ge=0)] = 102,
        ramp: Annotated[Epochs, Field(ge=0)] = 0,
        refine: bool = False,
    ) -> None:
        super().__init__(
            task,
            lambda_=lambda_,
            beta=beta,
            alpha=alpha,
            decay=decay,
            average_ramp=average_ramp,
            ramp=ramp,
            refine=refine,
        )
        self.prepare(
            Start(start_epochs, start_batch_size, start_lr, start_temperature, start_dimensions, start_augment)
        )

    @property
    def encoder(self) -> nn.Module:
        """The first network."""
        return self.networks[0]

    @torch.no_grad()
    def begin_method(self) -> None:
        """The second network and both averages get what the first has learnt."""
        self.representation.copy(self.networks[0], self.networks[1])
        for average, network in zip(self.averages, self.networks, strict=True):
            average.load_state_dict(network.state_dict())
