"""MentorNet: samples weighted by a predefined or a learnt curriculum (Jiang et al. 2018)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError, ParameterError
from noisybench.methods import curriculum as curricula
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.curriculum import Decay, DecayedClosure, Percent, Percentile
from noisybench.methods.descent import descend
from noisybench.methods.mentor_network import Mentor, fit_mentor
from noisybench.methods.task import Task
from noisybench.registry import algorithm
from noisybench.seeding import Draws, torch_generator

Stairs = Annotated[list[list[float]], AfterValidator(curricula.stairs)]
DROPOUT = {"predefined": [[0.5, 17], [0.05, 83]], "data_driven": [[0.5, 17], [0.05, 78], [0.9, 5]]}


@algorithm("mentornet", cite="jiang2018mentornet")
class MentorNet(Algorithm):
    """MentorNet with its predefined (PD) or a data-driven (DD) curriculum  (Jiang et al. 2018).

    Loss mean(v_i l_i), l the suite's loss, with weight decay scaled by mean(v) (see ``curriculum.DecayedClosure``) and
    no gradient through v. v_i follows from d_i = l_i - m, m the moving average (``decay``) of the ``percentile`` of the
    batch's losses, and the percent of the run's steps done. Then example dropout sets the v of a random share of each
    batch to 0: ``dropout`` [[rate, percents of the run], ...].

    ``curriculum: predefined``: v = 1 up to 18 percent, [d <= 0] up to 90, then clip(1 - d / gamma, 0, 1). The authors
    fit a small network to this; here it is computed. v = 1 also below ``burn_in`` - 1 percent (default 0: never).

    ``curriculum: data_driven`` needs ``oracle: true``, because it learns from **clean labels, and is not comparable to
    methods without them**. Those of a random ``clean_share`` of the training part are looked up, once, for one bit an
    image: is its noisy label right? During the ``burn_in`` (default 18 percent, rounded to whole epochs, at least one)
    v = 1, and losses, differences and percents of these images are kept from each epoch, at their turn in it. Then the
    mentor (``mentor_network``) is fitted to the bits in ``mentor_steps`` steps; from there on v is what it says, its
    percent held at the burn-in's last. The images themselves stay in training with their noisy labels.

    One forward and one backward pass a step. ``details``: ``weight_mean``, mean v of the last epoch before dropout; for
    DD also ``clean_labels`` (how many were used) and ``mentor_loss`` (the mentor's cross entropy on its dump). Memory:
    one network; for DD a few numbers a clean label and burn-in epoch.

    The authors' settings on CIFAR-10: percentile 0.75 at 20 and 40 % noise, 0.5 at 80 % for PD (their commands misspell
    the flag, so its default 0.7 may have been used); 0.8, 0.6, 0.5 for DD. Batch 128, 39,000 steps, SGD lr 0.1,
    momentum 0.9, weight decay 2e-4: ``{epochs: 100, schedule: {name: multistep, milestones: [50, 64, 77]}}``.

    Differs from the authors' code: DD there takes a mentor that was fitted beforehand, to a dump of another run on
    the same data with about 10 % clean labels; and it holds the percent also for the dropout's stairs, so that the last
    is never reached.
    """

    capturable = False
    """What a step does changes with the percent of the run, inside an epoch."""
    state = ("threshold", "weight_mean", "dump", "mentor_loss", "mentor_percent")
    in_memory = ("dump",)

    def __init__(
        self,
        task: Task,
        *,
        curriculum: Literal["predefined", "data_driven"] = "predefined",
        percentile: Percentile = 0.75,
        decay: Decay = 0.5,
        gamma: Annotated[float, Field(gt=0)] = 1.0,
        burn_in: Percent | None = None,
        dropout: Stairs | None = None,
        oracle: bool = False,
        clean_share: Annotated[float, Field(gt=0, le=1)] = 0.1,
        mentor_steps: Annotated[int, Field(ge=1)] = 3000,
    ) -> None:
        super().__init__(task)
        learnt = curriculum == "data_driven"
        if learnt and not oracle:
            raise InputError(
                "mentornet: curriculum data_driven learns from clean labels, which nobody has under label noise; set "
                "algorithm.oracle: true to allow it, or take curriculum: predefined"
            )
        if oracle and not learnt:
            raise ParameterError("curriculum predefined uses no clean labels; remove it", key="oracle")
        refuse_mixup(task)
        self.percentile, self.decay, self.gamma = percentile, decay, gamma
        self.dropout = DROPOUT[curriculum] if dropout is None else dropout
        self.burn_in = (18 if learnt else 0) if burn_in is None else burn_in
        self.epochs, self.mentor_steps = int(task.training["epochs"]), mentor_steps
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)
        self.threshold = torch.zeros((), device=task.device)
        self.weight_mean = torch.zeros((), device=task.device)
        self.dump, self.mentor_loss, self.mentor_percent = torch.zeros(0, 4), math.nan, -1
        self.mentor = Mentor(torch_generator(task.seed, "method", "mentor")).to(task.device) if learnt else None
        if learnt:
            self.burn_in_epochs = max(1, math.floor(self.burn_in * self.epochs / 100 + 0.5))
            self.known = known_images(task, clean_share)
            self.right = (task.oracle().clean_labels == task.labels)[self.known].float().cpu()

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Draw the epoch's example dropout on the CPU and copy it once."""
        steps, generator = len(loader), self.task.generator("example dropout")
        self._percents = [curricula.percent_of_run(epoch * steps + n, self.epochs * steps) for n in range(steps)]
        masks = [
            curricula.dropout_mask(size, curricula.rate_at(self.dropout, percent), generator)
            for size, percent in zip(loader.sizes, self._percents, strict=True)
        ]
        drawn = torch.cat(masks).to(self.task.device)
        self._turns = iter(zip(self._percents, torch.split(drawn, list(loader.sizes)), strict=True))
        self.weight_mean = torch.zeros_like(self.weight_mean)
        if self.mentor is not None and self.mentor_percent < 0:
            self._features = torch.full((2, len(self.task.labels)), math.nan, device=self.task.device)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; at the end of each burn-in epoch of DD its dump, and after the last the mentor."""
        loss = super().train_epoch(epoch, loader)
        self.weight_mean /= loader.images_per_epoch
        if self.mentor is not None and epoch < self.burn_in_epochs:
            percent = curricula.percent_of_run(epoch + 1, self.epochs)
            self.dump = torch.cat([self.dump, self.rows(percent)])
            if epoch + 1 == self.burn_in_epochs:
                self.teach(self.mentor, percent)
        return loss

    def step(self, batch: Batch) -> Tensor:
        """Weigh the batch by its losses, then one optimiser step on the weighted mean."""
        percent, mask = next(self._turns)

        def losses(rows: Tensor | None) -> Tensor:
            chosen = slice(None) if rows is None else rows
            return self.task.loss(self.task.forward(self.model, batch.images[chosen]), batch.labels[chosen])

        ready = losses(None)
        weights = self.weigh(ready.detach(), batch.index, percent)
        self.weight_mean += weights.sum()
        weights = weights * mask
        closure = DecayedClosure(self.task, self.optimizer, losses, weights, [ready], decay_weights=weights)
        return descend(self.optimizer, closure, batch.images)

    def weigh(self, losses: Tensor, index: Tensor, percent: int) -> Tensor:
        """The curriculum's weights ``[B]``; the threshold moves."""
        self.threshold = curricula.moving_threshold(self.threshold, losses, self.percentile, self.decay)
        difference = losses - self.threshold
        if self.mentor is None:
            if percent < self.burn_in - 1:
                return torch.ones_like(losses)
            return curricula.predefined(difference, percent, self.gamma)
        if self.mentor_percent < 0:
            self._features[:, index] = torch.stack([losses, difference])
            return torch.ones_like(losses)
        with torch.no_grad():
            held = torch.full_like(index, self.mentor_percent)
            weights: Tensor = self.mentor(losses, difference, held).sigmoid()
        return weights

    def rows(self, percent: int) -> Tensor:
        """The epoch's dump of the images whose clean labels are known, ``[n, 4]``; columns as in ``fit_mentor``."""
        losses, differences = self._features[:, self.known].cpu()
        rows = torch.stack([losses, differences, torch.full_like(losses, percent), self.right], dim=1)
        return rows[rows.isfinite().all(dim=1)]  # drop_last leaves some images out, a diverged run has no finite loss

    def teach(self, mentor: Mentor, percent: int) -> None:
        """Fit the mentor to the dump, on the CPU, and use it from the next epoch on."""
        generator = self.task.generator("mentor batches")
        mentor.cpu()
        if len(self.dump):
            self.mentor_loss = fit_mentor(mentor, self.dump, steps=self.mentor_steps, generator=generator)
        mentor.to(self.task.device)
        self.mentor_percent = percent
        self.dump = self.dump[:0]

    def details(self) -> dict[str, float]:
        """``weight_mean``; for DD also ``clean_labels`` and ``mentor_loss``."""
        details = {"weight_mean": float(self.weight_mean)}
        if self.mentor is not None:
            details |= {"clean_labels": float(len(self.known)), "mentor_loss": self.mentor_loss}
        return details


def known_images(task: Task, share: float) -> Tensor:
    """A random share of the training part, at least one image: positions, ascending."""
    count = max(1, math.floor(share * len(task.index) + 0.5))
    chosen = torch.from_numpy(Draws(task.seed, "method", "clean share").choose(len(task.index), count))
    return task.index[chosen.to(task.index.device)]


def refuse_mixup(task: Task) -> None:
    """InputError where a suite asks for mixup: weights belong to single images."""
    if task.mixup is not None:
        name = task.spec["method"]["algorithm"]["name"]
        raise InputError(f"algorithm '{name}' weighs single images and cannot be combined with method.mixup; remove it")
