"""O2U-Net: losses that are high all along cycles of over- and underfitting belong to wrong labels."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Phase, Suspicion
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.noise_rate import Estimate, EstimateEpochs, Rate, RateSeeker
from noisybench.methods.restart import Start, Weights, weights_of
from noisybench.methods.small_loss import keep_count, smallest
from noisybench.methods.task import Task
from noisybench.methods.two_networks import losses_of, refuse_mixup
from noisybench.registry import Epochs, algorithm

LearningRate = Annotated[float, Field(gt=0)]


def cyclic_rate(epoch: int, period: int, high: float, low: float) -> float:
    """The learning rate of epoch e (0-based): (1 - t) high + t low with t = (e mod period + 1) / period."""
    t = (epoch % period + 1) / period
    return (1 - t) * high + t * low


def centred(losses: Tensor) -> Tensor:
    """An epoch's losses ``[n]`` less their mean, 0 for samples the epoch left out (NaN)."""
    seen = ~losses.isnan()
    total = torch.where(seen, losses, 0.0)
    return torch.where(seen, losses - total.sum() / seen.sum().clamp(min=1), 0.0)


@algorithm("o2unet", cite="huang2019o2unet")
class O2UNet(RateSeeker):
    """O2U-Net: train, cycle the learning rate and add up losses, drop the largest, retrain  (Huang et al. 2019).

    ``pretrain``: ``training.epochs`` epochs as the suite says. ``cycle``: ``cycle_epochs`` (null: as many) with
    batches of ``cycle_batch_size`` and, within each ``period`` of epochs, a learning rate that falls from
    ``cycle_high`` to ``cycle_low`` (absolute values; ``cyclic_rate``). Every sample's loss at its turn in each epoch,
    in train mode, less the epoch's mean, is added up. ``retrain``: of n samples the floor((1 - R) n) with the smallest
    sums are trained on for ``training.epochs`` epochs, as in the first phase, from the initial weights (``retrain_from:
    scratch``, the paper) or from those the first phase ended with (``pretrained``, the authors' code). Every phase
    starts with a fresh optimiser. Memory: one network, a copy or two of its weights, one number a sample.

    ``forget_rate`` (R), ``oracle``, ``estimate`` and ``estimate_epochs`` as in ``coteaching``: null is estimated in a
    phase of its own, or under ``oracle`` the true rate, which the authors take.

    Authors' defaults: 250 epochs in each phase, batch 16, cycles of 10 epochs from 0.01 to 0.001. Their schedule
    (``recipe: authors``), with ``resnet101``, no augmentation:

        training: {epochs: 250, batch_size: 128, augment: [],
          optimizer: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 5e-4},
          schedule: {name: multistep, milestones: [62, 125], gamma: [0.5, 0.2]}}

    Differs from the authors' code in that phases and cycles start with their first epoch (there with the second).
    """

    state = ("sums", "kept", "rate", "pretrained")

    def __init__(
        self,
        task: Task,
        *,
        forget_rate: Rate | None = None,
        oracle: bool = False,
        estimate: Estimate = "agreement",
        estimate_epochs: EstimateEpochs = 50,
        cycle_epochs: Annotated[Epochs, Field(ge=1)] | None = None,
        cycle_batch_size: Annotated[int, Field(ge=2)] = 16,
        cycle_high: LearningRate = 0.01,
        cycle_low: LearningRate = 0.001,
        period: Annotated[Epochs, Field(ge=1)] = 10,
        retrain_from: Literal["scratch", "pretrained"] = "scratch",
    ) -> None:
        super().__init__(task, rate=forget_rate, oracle=oracle, estimate=estimate, estimate_epochs=estimate_epochs)
        refuse_mixup(task)
        self.cycle_epochs, self.cycle_batch_size, self.period = cycle_epochs, cycle_batch_size, period
        self.cycle_high, self.cycle_low, self.retrain_from = cycle_high, cycle_low, retrain_from
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)
        self.start = Start.of(self.model, self.optimizer)
        self.sums = torch.zeros(len(task.labels), device=task.device)
        self.latest = torch.full_like(self.sums, torch.nan)
        self.kept = torch.ones(len(task.index), dtype=torch.bool, device=task.device)
        self.pretrained: Weights | None = None

    def own_phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """Three phases; the second has its own learning rate, as a factor on the suite's."""
        epochs, base = int(training["epochs"]), float(self.optimizer.param_groups[0]["initial_lr"])

        def factor(position: float) -> float:
            rate = cyclic_rate(math.floor(position), self.period, self.cycle_high, self.cycle_low)
            return rate / base if base else 0.0

        cycle = Phase("cycle", self.cycle_epochs or epochs, factor)
        return [Phase("pretrain", epochs), cycle, Phase("retrain", epochs)]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """A fresh optimiser; before the last phase also the selection and the weights to start from."""
        super().begin_phase(number, phase)
        if phase.name == "cycle":
            weights = weights_of(self.model)
            self.pretrained = weights if self.retrain_from == "pretrained" else None
            self.start.restore(weights)
        elif phase.name == "retrain":
            sums = self.sums[self.task.index]
            assert self.rate is not None
            self.kept = smallest(sums, max(keep_count(self.rate, len(sums)), min(2, len(sums))))
            self.start.restore(self.pretrained)
            self.pretrained = None

    def loader(self, phase: Phase) -> Loader:
        """Everything, in small batches while the learning rate cycles, and what was kept at the end."""
        self.phase_name, self.cycling = phase.name, phase.name == "cycle"
        index, size = self.task.index, self.task.training["batch_size"]
        if self.cycling:
            size = self.cycle_batch_size
        elif phase.name == "retrain":
            index = index[self.kept]
        return self.task.loader(index, batch_size=min(size, len(index)))

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """No loss is known of this epoch yet."""
        self.latest.fill_(torch.nan)

    def own_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; while the learning rate cycles its losses are added up."""
        mean = super().own_epoch(epoch, loader)
        if self.cycling:
            self.sums += centred(self.latest)
        return mean

    def step(self, batch: Batch) -> Tensor:
        """One optimiser step on the batch mean; the losses before it are remembered."""
        losses = losses_of(self.task, self.model, batch.images, batch.labels)
        self.latest[batch.index] = losses.detach()
        again = functools.partial(losses_of, self.task, self.model, batch.images, batch.labels)
        closure = WeightedClosure(self.task, self.optimizer, again, torch.ones_like(losses.detach()), [losses])
        return descend(self.optimizer, closure, batch.images)

    def suspicion(self) -> dict[str, Suspicion]:
        """The summed losses that decide what is dropped."""
        return {"o2u": Suspicion(self.sums[self.task.index], self.rate)}

    def details(self) -> dict[str, float]:
        """The rate that was used, estimated or not, and the share of samples kept for the last phase."""
        return super().details() | {"kept_share": float(self.kept.double().mean())}
