"""CMW-Net: a weighting function for each group of classes, learnt from a small meta set (Shu et al. 2023)."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, one_hot, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.averaged_network import update_average
from noisybench.methods.meta_weighting import MetaEvery, MetaRate, MetaSize, MetaWeighting, Network, WarmUp
from noisybench.methods.mixing import Mix, draw_epoch
from noisybench.methods.one_network import refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import algorithm
from noisybench.seeding import derive


def group_classes(sizes: np.ndarray, groups: int) -> np.ndarray:
    """The group of each class, int64 ``[K]``, by its size ``[K]``: k-means on the line, solved exactly.

    Group 0 has the smallest classes. Classes of one size share a group, so there may be fewer groups than asked for.
    """
    values, place, counts = np.unique(np.asarray(sizes, dtype=np.float64), return_inverse=True, return_counts=True)
    n, groups = len(values), min(groups, len(values))
    ones, sums, squares = (np.concatenate([[0.0], np.cumsum(counts * values**power)]) for power in range(3))

    def spread(start: np.ndarray | int, stop: int) -> np.ndarray:
        weight, total = ones[stop] - ones[start], sums[stop] - sums[start]
        result: np.ndarray = squares[stop] - squares[start] - total**2 / weight
        return result

    cost, cuts = np.array([0.0, *(float(spread(0, stop)) for stop in range(1, n + 1))]), []
    for group in range(1, groups):
        following, cut = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=np.int64)
        for stop in range(group + 1, n + 1):
            starts = np.arange(group, stop)
            totals = cost[starts] + spread(starts, stop)
            cut[stop] = starts[totals.argmin()]
            following[stop] = totals.min()
        cost = following
        cuts.append(cut)
    borders, stop = [], n
    for cut in reversed(cuts):
        stop = int(cut[stop])
        borders.append(stop)
    group_of = np.searchsorted(np.array(sorted(borders)), np.arange(n), side="right")
    return group_of[place.reshape(-1)].astype(np.int64)


def refined(weights: Tensor, labels: Tensor, guesses: Tensor) -> Tensor:
    """``v e_y + (1 - v) p``: labels int64 ``[B]`` with weights ``[B]``, guesses ``[B, K]`` with the rest."""
    hard = one_hot(labels, guesses.shape[1]).to(guesses.dtype)
    return guesses + weights[:, None] * (hard - guesses)


def soft_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropies ``[B]`` to targets ``[B, K]``."""
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1)


@algorithm("class_meta_weight_net", cite="shu2023cmwnet")
class ClassMetaWeightNet(MetaWeighting):
    """CMW-Net: MW-Net with a weighting function for each of ``groups`` groups of classes  (Shu et al. 2023).

    Classes are grouped by their number of (noisy) labels, k-means with ``groups`` means. V has one hidden layer for all
    and a last layer for each group: ``mean_i V(l_i, group of y_i) l_i``. Steps, meta set, ``oracle``, ``meta_size``,
    ``meta_every`` and ``warm_up`` as in ``meta_weight_net``, where no clean image is used by default.

    ``soft_labels: true`` is CMW-Net-SL, what the authors' code for CIFAR is: what a weight takes from a label goes to a
    guess. A batch is mixed with weight q ~ Beta(alpha, alpha), folded to at least 1/2, and partner j(i); p is the
    softmax that the average of the network (decay ``decay``, in train mode, of the unmixed images) gives:

        u_i = V_i e(y_i) + (1 - V_i) p_i,   V_i = V(CE(z_i, y_i)),   z of the mixed images
        loss = mean_i  CE(z_i, q u_i + (1 - q) u_j(i))

    in the virtual and in the real step. Meta images are mixed too, with Beta(1, 1); the average's losses choose them.
    ``answer``: the network's or the average's; the authors print both.

    Authors' for CMW-Net-SL on CIFAR-10 (``recipe: authors``), PreActResNet-18: ``soft_labels: true, meta_lr: 0.0001,
    warm_up: 10`` (CIFAR-100: 30, and alpha 0.4, 4 or 0.1 by noise),

        training: {epochs: 300, batch_size: 128, augment: [{crop: {padding: 4, mode: reflect}}, flip],
                   optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 5e-4},
                   schedule: {name: multistep, milestones: [150], gamma: 0.1}}

    and for CMW-Net on ANIMAL-10N ``warm_up: 20`` of 100 epochs. Differs from their code in that the groups are the best
    ones (there what sklearn's k-means found), that the average's batch norm follows the network's in the warm-up (there
    it stays as it began, and chooses the first meta set so), and that the average goes on to the end (there it stops at
    epoch 150 for asymmetric noise). Their code for feature-dependent noise instead weighs a partner by its
    label under z_i, smooths p over epochs (0.9) and does not mix meta images; that is not here.
    ``weight_mean``: of the last epoch. Memory: as MW-Net; with soft labels the average and a forward pass more.
    """

    def __init__(
        self,
        task: Task,
        *,
        oracle: bool = False,
        meta_size: MetaSize | None = None,
        meta_every: MetaEvery = 10,
        warm_up: WarmUp | None = None,
        meta_lr: MetaRate = 1e-3,
        groups: Annotated[int, Field(ge=1)] = 3,
        soft_labels: bool = False,
        alpha: Annotated[float, Field(gt=0)] = 1.0,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.997,
        answer: Literal["network", "average"] = "network",
    ) -> None:
        super().__init__(
            task,
            oracle=oracle,
            meta_size=meta_size,
            meta_every=meta_every,
            warm_up=warm_up,
            meta_lr=meta_lr,
            groups=groups,
        )
        refuse_mixup(task, " (its alpha is algorithm.alpha)" if soft_labels else "")
        counts = torch.bincount(task.labels[self.index], minlength=task.num_classes).cpu().numpy()
        self.scales = torch.from_numpy(group_classes(counts, groups)).to(task.device)
        self.alpha, self.decay, self.soft_labels, self.answer = alpha, decay, soft_labels, answer
        if soft_labels:
            refuse_other_losses(task)
            self.average = task.model()
            self.average.load_state_dict(self.model.state_dict())
            self.average.requires_grad_(False)

    @property
    def judge(self) -> nn.Module:
        """The average, where there is one."""
        return self.average if self.soft_labels else self.model

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """The meta set, and an epoch's draws for mixing."""
        super().begin_epoch(epoch, loader)
        if not self.soft_labels or self.warming:
            return
        task, turns = self.task, -(-len(loader) // self.meta_every)
        meta_sizes = list(itertools.islice(itertools.cycle(self.meta_sizes), turns))
        self.mixes = draw_epoch(self.alpha, loader.sizes, task.seed, epoch, task.device)
        self.meta_mixes = draw_epoch(1.0, meta_sizes, derive(task.seed, "method", "meta mix"), epoch, task.device)

    def step(self, batch: Batch) -> Tensor:
        """Guess and mix, where labels are soft, then the steps of both networks; the average follows."""
        if not self.soft_labels:
            return super().step(batch)
        if not self.warming:
            self.prepare(batch, folded(next(self.mixes)))
        loss = super().step(batch)
        update_average(self.average, self.model, self.decay)
        if self.warming:
            for average, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                average.copy_(buffer)
        return loss

    @torch.no_grad()
    def prepare(self, batch: Batch, mix: Mix) -> None:
        """What the average guesses of the batch, and the mixed images."""
        self.guesses = softmax(self.task.forward(self.average, batch.images), dim=1)
        self.mix, self.mixed = mix, mix.images(batch.images)

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mixed soft labels ``[B, K]`` by the weights of the losses of mixed images."""
        weights = self.weigh(cross_entropy(logits, labels, reduction="none"), labels)
        if not weights.requires_grad:
            self.noted(weights)
        return self.mix.images(refined(weights, labels, self.guesses))

    def training_loss(self, network: Network, batch: Batch) -> Tensor:
        """The mean loss whose gradient is the virtual step."""
        if not self.soft_labels:
            return super().training_loss(network, batch)
        logits = self.apply(network, self.mixed)
        return soft_losses(logits, self.targets(logits, batch.labels)).mean()

    def meta_loss(self, network: Network, meta: Batch) -> Tensor:
        """The mean cross entropy of a meta batch, mixed where labels are soft."""
        if not self.soft_labels:
            return super().meta_loss(network, meta)
        mix = folded(next(self.meta_mixes))
        logits = self.apply(network, mix.images(meta.images))
        return mix.loss(lambda z, y: cross_entropy(z, y, reduction="none"), logits, meta.labels).mean()

    def weighted_step(self, batch: Batch) -> Tensor:
        """The network's step on weighted or on soft labels."""
        if not self.soft_labels:
            return super().weighted_step(batch)
        logits = self.logits(self.mixed)
        with torch.no_grad():
            targets = self.targets(logits, batch.labels)

        def losses(rows: Tensor | None) -> Tensor:
            return soft_losses(self.logits(self.mixed, rows), targets if rows is None else targets[rows])

        return self.learn(self.mixed, losses, ready=soft_losses(logits, targets))

    def predict(self, images: Tensor) -> Tensor:
        """The network's logits, or the average's."""
        return self.task.forward(self.average if self.soft_labels and self.answer == "average" else self.model, images)


def folded(mix: Mix) -> Mix:
    """The same draw with a weight of at least 1/2."""
    return Mix(torch.maximum(mix.weight, 1 - mix.weight), mix.partner)
