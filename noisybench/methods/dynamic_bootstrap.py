"""M-DYR-H and M-DYR-S: mixup and bootstrapping weighted by a beta mixture of the losses (Arazo et al. 2019)."""

from __future__ import annotations

import abc
import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError, ParameterError
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.beta_mixture import LossModel
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.erm import BatchClosure
from noisybench.methods.mixing import Mix, draw_epoch
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

Alpha = Annotated[float, Field(gt=0)]
Coefficient = Annotated[float, Field(ge=0)]
Until = Annotated[Epochs, Field(ge=0)]
"""A number of completed epochs at which a stage begins."""
AUTHORS_EPOCHS = 300

# -- losses -------------------------------------------------------------------------------------------------------


def bootstrapped(logits: Tensor, labels: Tensor, guesses: Tensor, wrong: Tensor) -> Tensor:
    """(1 - B) CE(z, y) + B CE(z, g) per sample ``[B]``: B ``[B]`` the probability that the label is wrong.

    logits, guesses ``[B, K]`` (a distribution each row), labels int64 ``[B]``. Guesses and B carry no gradient.
    """
    log_p = functional.log_softmax(logits, dim=1)
    given = -log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    guessed = -(guesses * log_p).sum(dim=1)
    return (1 - wrong) * given + wrong * guessed


def mixed_bootstrapped(
    logits: Tensor,
    labels: Tensor,
    guesses: Tensor,
    wrong: Tensor,
    partner: Tensor,
    weight: Tensor | float,
    rows: Tensor | None = None,
) -> Tensor:
    """weight times ``bootstrapped`` for the sample, 1 - weight times that for its partner, ``[B]``.

    ``partner`` int64 ``[B]``; logits are those of the mixed images, everything else belongs to the unmixed ones.
    ``rows``: logits of these mixed images alone.
    """
    one, two = (slice(None), partner) if rows is None else (rows, partner[rows])
    own = bootstrapped(logits, labels[one], guesses[one], wrong[one])
    other = bootstrapped(logits, labels[two], guesses[two], wrong[two])
    return weight * own + (1 - weight) * other


def uniform_divergence(logits: Tensor) -> Tensor:
    """KL(uniform || mean prediction of the batch), a scalar: keeps all classes in use. logits ``[B, K]``."""
    count, num_classes = logits.shape
    log_mean = torch.logsumexp(functional.log_softmax(logits, dim=1), dim=0) - math.log(count)
    return -(log_mean.mean() + math.log(num_classes))


# -- methods ------------------------------------------------------------------------------------------------------


class BetaGuided(Algorithm, abc.ABC):
    """Mixup first, then losses guided by a beta mixture that is fitted to the losses of every epoch.

    ``warmup``: epochs before the guidance; None: the authors' share of the run, 105 of 300. After each epoch that
    another guided one may follow, the mixture is fitted to the cross entropies of the training part in eval mode,
    augmented with draws of their own; ``wrong`` reads B for a batch from it with the current network.
    """

    capturable = False
    """Stages differ in their forward passes, and the network goes to eval mode and back inside a step."""
    state: tuple[str, ...] = ("fitted",)

    def __init__(self, task: Task, *, alpha: float, warmup: int | None, regularisation: float) -> None:
        super().__init__(task)
        name = task.spec["method"]["algorithm"]["name"]
        if task.mixup is not None:
            raise InputError(f"algorithm '{name}' mixes images itself; remove method.mixup and set algorithm.alpha")
        if task.spec["method"]["loss"]["name"] != "ce":
            raise InputError(f"algorithm '{name}' is defined with cross entropy only; remove method.loss")
        self.epochs = int(task.training["epochs"])
        self.alpha, self.regularisation = alpha, regularisation
        self.warmup = self.stage(warmup, 105)
        if warmup is not None and warmup >= self.epochs:
            raise ParameterError(f"{warmup} of {self.epochs} epochs leave none to the method itself", key="warmup")
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)
        self.fitted: dict[str, Tensor] = {}
        self.epoch = 0

    def stage(self, stated: int | None, authors: int) -> int:
        """A number of epochs as stated, or the share the authors' has of their 300, rounded, at least 1."""
        return max(1, math.floor(authors * self.epochs / AUTHORS_EPOCHS + 0.5)) if stated is None else stated

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Draw the epoch's weights and partners."""
        self.epoch = epoch
        self._mixes = draw_epoch(self.alpha, loader.sizes, self.task.seed, epoch, self.task.device)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; afterwards the mixture, when the next epoch is guided."""
        loss = super().train_epoch(epoch, loader)
        if epoch + 1 >= self.warmup:
            self.fitted = vars(LossModel.fit(self.losses_in_eval_mode(loader)))
        return loss

    def step(self, batch: Batch) -> Tensor:
        """Plain mixup during the warm-up, then the method's own step."""
        mix = next(self._mixes)
        if self.epoch >= self.warmup:
            return self.guided_step(batch, mix)
        return self.mixup_step(batch, mix, mix.images(batch.images))

    @abc.abstractmethod
    def guided_step(self, batch: Batch, mix: Mix) -> Tensor:
        """A step after the warm-up."""

    def mixup_step(self, batch: Batch, mix: Mix, images: Tensor) -> Tensor:
        """Mixup's loss on images that are mixed already."""
        return descend(
            self.optimizer, BatchClosure(self.task, self.model, self.optimizer, images, batch.labels, mix), images
        )

    def bootstrapping_step(
        self, batch: Batch, images: Tensor, guesses: Tensor, wrong: Tensor, partner: Tensor, weight: Tensor | float
    ) -> Tensor:
        """``mixed_bootstrapped`` on mixed images, plus the regularisation of the whole (micro-)batch."""

        def losses(rows: Tensor | None) -> Tensor:
            logits = self.task.forward(self.model, images if rows is None else images[rows])
            own = mixed_bootstrapped(logits, batch.labels, guesses, wrong, partner, weight, rows)
            return own + self.regularisation * uniform_divergence(logits)

        closure = WeightedClosure(self.task, self.optimizer, losses, torch.ones_like(wrong), [])
        return descend(self.optimizer, closure, images)

    def unmixed_logits(self, images: Tensor) -> Tensor:
        """Logits ``[B, K]`` in train mode, without gradient; batch-norm statistics move, as the authors'."""
        with torch.no_grad():
            return self.task.forward(self.model, images)

    def wrong(self, batch: Batch) -> Tensor:
        """B ``[B]`` of a batch: the last mixture at the losses of the current network in eval mode."""
        if not self.fitted:  # no epoch before this one
            return torch.full((len(batch.labels),), 0.5, device=self.task.device)
        with self.task.eval_mode():
            losses = functional.cross_entropy(
                self.task.forward(self.model, batch.images), batch.labels, reduction="none"
            )
        return LossModel(**self.fitted).wrong(losses)

    def losses_in_eval_mode(self, loader: Loader) -> Tensor:
        """Cross entropies of the training part, augmented as in no epoch of the run."""
        losses = []
        with self.task.eval_mode():
            for batch in loader.epoch(self.epochs + self.epoch):
                logits = self.task.forward(self.model, batch.images)
                losses.append(functional.cross_entropy(logits, batch.labels, reduction="none"))
        return torch.cat(losses)

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``: the weight of the component of large losses after the last epoch."""
        return {"estimated_noise_rate": float(self.fitted["wrong_share"])} if self.fitted else {}


@algorithm("dynamic_bootstrap", cite="arazo2019")
class DynamicBootstrap(BetaGuided):
    """M-DYR-H (``variant: hard``) and M-DYR-S (``soft``): mixup with dynamic bootstrapping  (Arazo et al. 2019).

    ``warmup`` epochs of mixup. Then, with lambda ~ Beta(alpha, alpha) a batch, z the logits of the mixed image, h those
    of the unmixed one (train mode, no gradient), g = argmax h (hard) or softmax h (soft) and B from the beta mixture:
    lambda [(1 - B_i) CE(z, y_i) + B_i CE(z, g_i)] + (1 - lambda) [the same of the partner], plus ``regularisation``
    times KL(uniform || mean prediction of the batch). Three forward passes and one backward pass a step; one more
    forward pass over the training part an epoch, for the mixture. ``details``: ``estimated_noise_rate``, the mixture's
    weight.

    The authors' settings: alpha 32, PreActResNet-18, SGD lr 0.1, momentum 0.9, weight decay 1e-4, batch 128, 300
    epochs, crop and flip: ``{epochs: 300, schedule: {name: multistep, milestones: [99, 249]}}``, ``warmup: 105`` (their
    scheduler is stepped before the first epoch). Default ``warmup``: that share, 35 %, of the run's epochs.

    Differs from the authors' code: there the regularisation is off by default (the scripts set it); the soft variant
    weighs sample and partner by 1/2 each whatever lambda is, and its regularisation takes 10 classes for granted; B is
    read after the forward pass on mixed images instead of before it, which batch-norm statistics notice. Memory: one
    network.
    """

    def __init__(
        self,
        task: Task,
        *,
        variant: Literal["hard", "soft"] = "hard",
        alpha: Alpha = 32.0,
        warmup: Until | None = None,
        regularisation: Coefficient = 1.0,
    ) -> None:
        super().__init__(task, alpha=alpha, warmup=warmup, regularisation=regularisation)
        self.variant = variant

    def guided_step(self, batch: Batch, mix: Mix) -> Tensor:
        """Bootstrapping on mixed images."""
        logits = self.unmixed_logits(batch.images)
        guesses = logits.softmax(dim=1)
        if self.variant == "hard":
            guesses = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).float()
        return self.bootstrapping_step(
            batch, mix.images(batch.images), guesses, self.wrong(batch), mix.partner, mix.weight
        )
