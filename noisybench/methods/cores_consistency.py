"""CORES, both phases: sieve, then a new network that learns what is left with its labels and the rest without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Phase
from noisybench.methods.cores import Cores
from noisybench.methods.one_network import divided_schedule
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import derive
from noisybench.suite.augmentations import parse_augment

STRONG = ("cutout", "randaugment")
"""Augmentations of the strong view alone."""
SMALLEST = 2
"""A labelled or unlabelled set with fewer images than this is not used: batch norm cannot take a batch of one."""


def ratio_at(removed: float) -> float:
    """Weight of the consistency loss by the share that the sieve removed: straight lines through the authors' settings,
    0.2, 0.4 and 0.9 at 20, 40 and 60 % noise, from 0 at 0; constant from there."""
    return float(np.interp(removed, [0.0, 0.2, 0.4, 0.6], [0.0, 0.2, 0.4, 0.9]))


def unlabelled_at(removed: float, batch_size: int) -> int:
    """Unlabelled images a batch: 1.25 x share x labelled, the authors' 80, 160 and 240 of 320 at 20, 40 and 60 %."""
    return max(SMALLEST, round(1.25 * removed * batch_size))


@dataclass(frozen=True)
class Consistency:
    """Targets of a batch of B labelled images, b weak views and b strong views of unlabelled ones; n = B + 2 b rows."""

    labels: Tensor  # int64 [n], of the first B
    targets: Tensor  # [n, K], of the last b: what the network says of the weak views
    supervised: Tensor  # [n]: n / B, 0 for the others
    consistent: Tensor  # [n]: ratio n / b of the last b, 0 for the others

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, unlabelled: int, ratio: float) -> Consistency:
        """From the logits ``[n, K]`` of the pass that is trained with; targets carry no gradient."""
        n, size = len(logits), len(labels)
        row = torch.arange(n, device=logits.device)
        targets = torch.zeros_like(logits, requires_grad=False)
        targets[n - unlabelled :] = softmax(logits[size : size + unlabelled].detach(), dim=1)
        return cls(
            torch.cat([labels, labels.new_zeros(n - size)]),
            targets,
            (row < size).to(logits.dtype) * (n / size),
            (row >= n - unlabelled).to(logits.dtype) * (ratio * n / max(unlabelled, 1)),
        )

    def losses(self, logits: Tensor, rows: Tensor | None) -> Tensor:
        """Losses ``[n]`` whose mean is CE(labelled) + ratio KL(weak || strong), each a mean; or of ``rows`` alone."""
        parts = (self.labels, self.targets, self.supervised, self.consistent)
        labels, targets, supervised, consistent = parts if rows is None else (part[rows] for part in parts)
        divergence = kl_div(log_softmax(logits, dim=1), targets, reduction="none").sum(dim=1)
        return supervised * cross_entropy(logits, labels, reduction="none") + consistent * divergence


@algorithm("cores2", cite="cheng2021cores")
class CoresConsistency(Cores):
    """CORES with both phases: the sieve of ``cores``, then consistency training of a new network  (Cheng et al. 2021).

    ``sieve``: the first ``sieve_epochs`` epochs of ``cores`` (learning rate, beta, prior and sieve as there, over
    ``training.epochs``); in the last of them an image's label fits where CE - mean_k(-log(p_k + 1e-8)) <= 0.
    ``consistency``: for ``training.epochs``, a new network and optimiser; a pass over the images whose label fits, with
    as many unlabelled ones beside each batch (recycled) as ``unlabelled_batch``, in one forward pass:

        CE(labelled, strong view) + ratio KL(p(unlabelled, weak view) || p(unlabelled, strong view)),

    each a mean, no gradient through the weak view (Xie et al. 2020, UDA). Weak is the suite's ``augment`` without
    cutout and RandAugment; strong adds RandAugment (``randaugment``) and a square hole of ``cutout`` pixels (null: half
    the smaller side, 16 on CIFAR-10, as the authors'; 0: none) where the suite has none.

    The authors set two things by the true noise rate: ``unlabelled_batch`` (80, 160, 240 beside 320 at 20, 40, 60 %)
    and ``ratio`` (0.2, 0.4, 0.9). Null: the same by the share that the sieve removed (``unlabelled_at``, ``ratio_at``);
    overrides by noise are marked rate-aware. Their phase 1 is that of ``cores``; phase 2 (``recipe: authors``),
    ResNet-34:

        training: {epochs: 1600, batch_size: 320, augment: [crop, flip], clip: 5, schedule: cosine,
                   optimizer: {name: sgd, lr: 0.3, momentum: 0.9, nesterov: true, weight_decay: 5e-4}}

    after 120 epochs of warm-up, which ``training.warmup`` would spend on the sieve. Differs from their code in the
    strong view (there AutoAugment's policies for CIFAR-10), in batches that are not stratified by class, in one
    optimiser and one ``training`` block for both phases, and where nearly nothing fits or is removed: then all labels
    count, or it is plain training. ``labelled_share``; ``estimated_noise_rate``: the rest; ``ratio``.
    Memory: that of one network at a time; activations of the labelled and twice the unlabelled images.
    """

    capturable = False  # the sets, and so last batches, are known only after the sieve
    state = (*Cores.state, "fits")

    def __init__(
        self,
        task: Task,
        *,
        sieve_epochs: Annotated[Epochs, Field(ge=1)] = 41,
        beta: Annotated[float, Field(ge=0)] = 2.0,
        begin: Annotated[Epochs, Field(ge=0)] = 10,
        rise: Annotated[Epochs, Field(ge=1)] = 30,
        sieve_after: Annotated[Epochs, Field(ge=0)] = 30,
        prior: Literal["kept", "uniform"] = "kept",
        ratio: Annotated[float, Field(ge=0)] | None = None,
        unlabelled_batch: Annotated[int, Field(ge=2)] | None = None,
        randaugment: bool = True,
        cutout: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(task, beta=beta, begin=begin, rise=rise, sieve_after=sieve_after, prior=prior)
        self.sieve_epochs = min(sieve_epochs, int(task.training["epochs"]))
        self.stated_ratio, self.stated_batch = ratio, unlabelled_batch
        self.strong: list[Any] = [*parse_augment(task.training["augment"])]
        self.weak = [step for step in self.strong if step["name"] not in STRONG]
        size = min(task.shape[1:]) // 2 if cutout is None else cutout
        stated = {step["name"] for step in self.strong}
        if randaugment and "randaugment" not in stated:
            self.strong.append("randaugment")
        if size and "cutout" not in stated:
            self.strong.append({"cutout": {"size": size}})
        task.loader(augment=self.strong)  # what the images cannot take is told now
        self.fits = torch.ones(len(task.labels), dtype=torch.bool, device=task.device)
        self.phase_name = ""

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``sieve``, ``consistency``."""
        first = Phase("sieve", self.sieve_epochs, divided_schedule(training, self._beta_at))
        return [first, Phase("consistency", int(training["epochs"]))]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """A new network after the sieve."""
        if phase.name == "consistency":
            self.task.release([self.model], [self.optimizer])
            self.model = self.task.model()
            self.optimizer = self.task.optimizer(self.model)

    def loader(self, phase: Phase) -> Loader:
        """Everything, or the images whose labels fit, in their strong view."""
        self.phase_name = phase.name
        if phase.name == "sieve":
            return super().loader(phase)
        labelled, _ = self._sets()
        return self.task.loader(
            labelled, augment=self.strong, batch_size=min(self.task.training["batch_size"], len(labelled))
        )

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Of the sieve: images that this epoch leaves out count as fitting."""
        super().begin_epoch(epoch, loader)
        self.fits.fill_(True)

    def note(self, batch: Batch, fits: Tensor, keep: Tensor) -> None:
        """Remember which labels fit."""
        super().note(batch, fits, keep)
        self.fits[batch.index] = fits

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """A pass of the sieve, or one over the labelled images."""
        if self.phase_name == "sieve":
            return super().train_epoch(epoch, loader)
        task = self.task
        unlabelled, ratio = self._recycled(epoch, loader.batch_size), self._ratio()
        total, images = torch.zeros((), device=task.device), 0
        for batch in task.batches(loader, epoch):
            views = next(unlabelled) if unlabelled else None
            total += self._consistent_step(batch, views, ratio) * len(batch.labels)
            images += len(batch.labels)
        return total / images

    def details(self) -> dict[str, float]:
        """``labelled_share`` of the training part, ``estimated_noise_rate``, ``ratio``."""
        share = self._removed()
        return {"labelled_share": 1 - share, "estimated_noise_rate": share, "ratio": self._ratio()}

    def _consistent_step(self, batch: Batch, views: tuple[Tensor, Tensor] | None, ratio: float) -> Tensor:
        """One optimiser step; targets are those of its first pass."""
        images = torch.cat([batch.images, *(views or ())])
        logits = self.logits(images)
        joint = Consistency.of(logits, batch.labels, len(views[0]) if views else 0, ratio)

        def losses(rows: Tensor | None) -> Tensor:
            return joint.losses(self.logits(images, rows), rows)

        return self.learn(images, losses, ready=joint.losses(logits, None))

    # -- sets -------------------------------------------------------------------------------------------------------

    def _sets(self) -> tuple[Tensor, Tensor]:
        """Positions to learn with their labels, and without."""
        index = self.task.index
        fits = self.fits[index]
        if int(fits.sum()) < SMALLEST:
            fits = torch.ones_like(fits)
        return index[fits], index[~fits]

    def _removed(self) -> float:
        return len(self._sets()[1]) / len(self.task.index)

    def _ratio(self) -> float:
        return ratio_at(self._removed()) if self.stated_ratio is None else self.stated_ratio

    def _recycled(self, epoch: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]] | None:
        """Weak and strong views of unlabelled batches without end; None when there are too few images."""
        task = self.task
        _, index = self._sets()
        if len(index) < SMALLEST:
            return None
        size = self.stated_batch or unlabelled_at(self._removed(), batch_size)
        size = min(size, len(index))
        weak = task.loader(index, augment=self.weak, batch_size=size)
        strong = task.loader(index, augment=self.strong, first_view=1, batch_size=size)

        def endless() -> Iterator[tuple[Tensor, Tensor]]:
            for cycle in range(2**31):
                number = derive(task.seed, "method", "cores unlabelled", epoch, cycle)
                for one, two in zip(weak.epoch(number), strong.epoch(number), strict=True):
                    yield one.images, two.images

        return endless()
