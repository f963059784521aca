"""MentorMix: mixup with partners and weights chosen by a mentor (Jiang et al. 2020)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError
from noisybench.methods import curriculum as curricula
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.averaged_network import average_decay, recompute_statistics, update_average
from noisybench.methods.curriculum import Decay, DecayedClosure, Percent, Percentile
from noisybench.methods.descent import descend
from noisybench.methods.task import Task
from noisybench.optim.passes import norms_with_statistics, still_statistics
from noisybench.registry import algorithm
from noisybench.seeding import Draws


def draw_partners(weights: Tensor, uniforms: Tensor) -> Tensor:
    """One partner a sample, with replacement, from Categorical(softmax(v)), int64 ``[B]``.

    weights v, uniforms in [0, 1) ``[B]``. The inverse of the cumulative distribution: static shapes, nothing drawn
    here.
    """
    edges = weights.softmax(dim=0).cumsum(dim=0)
    return torch.searchsorted(edges, uniforms * edges[-1], right=True).clamp(max=len(weights) - 1)


def own_shares(weights: Tensor, betas: Tensor) -> Tensor:
    """lambda ``[B]``: of Beta draws ``[B]`` the larger of lambda and 1 - lambda for a sample with weight v >= 1/2, the
    smaller for one below: a doubtful sample gives way to its partner."""
    large = torch.maximum(betas, 1 - betas)
    return torch.where(weights >= 0.5, large, 1 - large)


@algorithm("mentormix", cite="jiang2020mentormix")
class MentorMix(Algorithm):
    """MentorMix: a mentor's weights choose mixup partners and shares, then weigh the mixed losses  (Jiang et al. 2020).

    A step: losses l_i of the batch as it is (train mode, no gradient, batch-norm statistics still); v_i = [l_i < m]
    (``curriculum: threshold``) or MentorNet PD's weights (``predefined``), m the moving average (``decay``) of the
    ``percentile`` of the batch's losses; partner j ~ Categorical(softmax(v)) with replacement, which is nearly uniform
    (at most e : 1); lambda_i ~ Beta(alpha, alpha) for each sample, folded to max(lambda, 1 - lambda), and to 1 minus
    that where v_i < 1/2; loss l'_i = lambda_i l(z, y_i) + (1 - lambda_i) l(z, y_j) on lambda_i x_i + (1 - lambda_i)
    x_j, l the suite's loss. ``second_reweight``: mean(v'_i l'_i), v' from the mixed losses and a moving threshold of
    their own, with weight decay scaled by mean(v') as in MentorNet; otherwise mean(l'). All v and v' are 1 below
    ``burn_in`` - 1 percent of the run. No gradient passes through v, v' and lambda.

    ``ema``: the network that answers is a moving average of the parameters, decay min(ema, (1 + n) / (10 + n)) at the
    n-th step, with batch-norm statistics recomputed on the training part after each epoch; null: the trained network
    answers. Two forward passes and one backward pass a step, and one forward pass an epoch for the statistics.
    ``details``: ``weight_mean``, mean v of the last epoch. Memory: two networks with ``ema``.

    The authors' percentile, alpha, second reweight on CIFAR-10 at 20, 40, 60, 80 % noise: (0.8, 2, no), (0.6, 8, no),
    (0.6, 8, yes), (0.2, 4, yes); the defaults are those of their flags, ``burn_in`` that of their commands. A wide
    ResNet-32, batch 128, 200,000 steps, SGD lr 0.1, momentum 0.9, weight decay 2e-4: ``{epochs: 512, schedule: {name:
    step, every: 30, gamma: 0.9}}``; crop, flip and colour jitter. The learning rate is still 0.017 at the end: without
    ``ema`` their scores are out of reach.

    Differs from the authors' code: it takes v from a network fitted to MentorNet PD; has no weight decay under the
    second reweight, as a comment in it says (``weight_decay: 0`` gives that); and uses the trained network's batch-norm
    statistics with the averaged parameters.
    """

    capturable = False
    """Burn-in and the average's decay change from step to step."""
    state = ("threshold", "mixed_threshold", "weight_mean")

    def __init__(
        self,
        task: Task,
        *,
        percentile: Percentile = 0.7,
        alpha: Annotated[float, Field(gt=0)] = 8.0,
        second_reweight: bool = True,
        curriculum: Literal["threshold", "predefined"] = "threshold",
        gamma: Annotated[float, Field(gt=0)] = 1.0,
        decay: Decay = 0.5,
        burn_in: Percent = 10,
        ema: Annotated[float, Field(ge=0, lt=1)] | None = 0.9999,
    ) -> None:
        super().__init__(task)
        if task.mixup is not None:
            raise InputError("algorithm 'mentormix' mixes images itself; remove method.mixup and set algorithm.alpha")
        self.percentile, self.alpha, self.second_reweight = percentile, alpha, second_reweight
        self.curriculum, self.gamma, self.decay, self.burn_in, self.ema = curriculum, gamma, decay, burn_in, ema
        self.epochs = int(task.training["epochs"])
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)
        self.norms = tuple(norms_with_statistics([self.model]))
        self.average = None
        if ema is not None:
            self.average = task.model().requires_grad_(False)
            self.average.load_state_dict(self.model.state_dict())
        self.threshold, self.mixed_threshold, self.weight_mean = torch.zeros(3, device=task.device)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Draw the epoch's Beta variables and partners on the CPU and copy them once."""
        draws, device = Draws(self.task.seed, "method", "mentormix", epoch), self.task.device
        size = loader.images_per_epoch
        uniforms = torch.from_numpy(draws.child("partners").uniforms(size)).float().to(device)
        betas = torch.from_numpy(draws.generator().beta(self.alpha, self.alpha, size)).float().to(device)
        sizes = list(loader.sizes)
        self._turns = iter(zip(torch.split(uniforms, sizes), torch.split(betas, sizes), strict=True))
        self._step, self._steps = epoch * len(loader), self.epochs * len(loader)
        self.weight_mean = torch.zeros_like(self.weight_mean)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; afterwards the average's batch-norm statistics."""
        loss = super().train_epoch(epoch, loader)
        self.weight_mean /= loader.images_per_epoch
        if self.average is not None:
            recompute_statistics(self.task, self.average, epoch)
        return loss

    def step(self, batch: Batch) -> Tensor:
        """Weigh, mix, weigh again, one optimiser step, and the average's."""
        uniforms, betas = next(self._turns)
        percent = curricula.percent_of_run(self._step, self._steps)
        with torch.no_grad(), still_statistics(self.norms):
            plain = self.task.loss(self.task.forward(self.model, batch.images), batch.labels)
        self.threshold = curricula.moving_threshold(self.threshold, plain, self.percentile, self.decay)
        weights = self.weigh(plain - self.threshold, percent)
        self.weight_mean += weights.sum()
        partner, share = draw_partners(weights, uniforms), own_shares(weights, betas)
        images = torch.lerp(batch.images[partner], batch.images, share[:, None, None, None])
        partners = batch.labels[partner]

        def losses(rows: Tensor | None) -> Tensor:
            chosen = slice(None) if rows is None else rows
            logits = self.task.forward(self.model, images[chosen])
            own, other = self.task.loss(logits, batch.labels[chosen]), self.task.loss(logits, partners[chosen])
            return share[chosen] * own + (1 - share[chosen]) * other

        ready = losses(None)
        second = torch.ones_like(weights)
        if self.second_reweight:
            mixed = ready.detach()
            self.mixed_threshold = curricula.moving_threshold(self.mixed_threshold, mixed, self.percentile, self.decay)
            second = self.weigh(mixed - self.mixed_threshold, percent)
        closure = DecayedClosure(self.task, self.optimizer, losses, second, [ready], decay_weights=second)
        loss = descend(self.optimizer, closure, images)
        self._step += 1
        if self.average is not None and self.ema is not None:
            update_average(self.average, self.model, average_decay(self._step, self.ema))
        return loss

    def weigh(self, difference: Tensor, percent: int) -> Tensor:
        """v ``[B]`` from losses minus threshold."""
        if percent < self.burn_in - 1:
            return torch.ones_like(difference)
        if self.curriculum == "predefined":
            return curricula.predefined(difference, percent, self.gamma)
        return (difference < 0).to(difference.dtype)

    def predict(self, images: Tensor) -> Tensor:
        """Logits of the averaged network, or without ``ema`` of the trained one."""
        return self.task.forward(self.model if self.average is None else self.average, images)

    def details(self) -> dict[str, float]:
        """``weight_mean``: mean v over the last epoch."""
        return {"weight_mean": float(self.weight_mean)}
