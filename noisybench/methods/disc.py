"""DISC: dynamic instance-specific selection and correction, from a weak and a strong view of every image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from noisybench.data.loader import Batch, Loader
from noisybench.losses.generalized_cross_entropy import generalized_cross_entropy
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.elr import disagreement
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.strong_views import Strong, strong_augment
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import Draws, torch_generator

CEILING = 0.99
"""No label is corrected unless the mean prediction exceeds its threshold; the threshold never exceeds this."""
SMALLEST = 2
"""Fewer images of a batch than this are not mixed: batch norm cannot take a batch of one."""
SIDE = 0.15
"""Side of the square that is erased from a strong view by default, in sides of the image."""


@dataclass(frozen=True)
class Sets:
    """What an epoch made of every image: bool ``[N]`` and ``labels`` int64 ``[N]``, those of the mixed images."""

    clean: Tensor
    hard: Tensor
    corrected: Tensor
    labels: Tensor

    @property
    def mixed(self) -> Tensor:
        """Clean, hard and corrected images."""
        return self.clean | self.hard | self.corrected


def divide(weak: Tensor, strong: Tensor, thresholds: Tensor, labels: Tensor, sigma: float, before: Tensor) -> Sets:
    """The sets by the predictions ``weak``, ``strong`` ``[N, K]`` and each image's ``thresholds`` ``[2, N]``.

    Clean: in both views p_y > threshold. Hard: in one. Corrected: in none, but the mean prediction's largest entry
    exceeds the mean threshold + sigma (at most 0.99), and it is the new label. ``before`` ``[N]``: labels of images in
    none of the sets, kept.
    """
    at_label = torch.stack([weak, strong]).gather(2, labels.expand(2, -1)[..., None])[..., 0]
    above = at_label > thresholds
    clean, selected = above.all(dim=0), above.any(dim=0)
    confidence, guess = ((weak + strong) / 2).max(dim=1)
    corrected = (confidence > (thresholds.mean(dim=0) + sigma).clamp(max=CEILING)) & ~selected
    kept = torch.where(selected, labels, torch.where(corrected, guess, before))
    return Sets(clean, selected & ~clean, corrected, kept)


def moved(thresholds: Tensor, weak: Tensor, strong: Tensor, momentum: float) -> Tensor:
    """``momentum t + (1 - momentum) max p`` for each view: thresholds ``[2, N]`` after these predictions."""
    confidence = torch.stack([weak, strong]).amax(dim=2)
    return momentum * thresholds + (1 - momentum) * confidence


def selected_losses(weak: Tensor, strong: Tensor, labels: Tensor, clean: Tensor, hard: Tensor) -> Tensor:
    """CE of both views where clean, ``hard`` times GCE (q 0.7) of both where hard, ``[B]``.

    Logits ``[B, K]``; ``clean``, ``hard`` ``[B]``: 0, 1 or a factor.
    """
    ce = cross_entropy(weak, labels, reduction="none") + cross_entropy(strong, labels, reduction="none")
    gce: Tensor = generalized_cross_entropy(weak, labels) + generalized_cross_entropy(strong, labels)
    return clean * ce + hard * gce


def mixed_losses(logits: Tensor, labels: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy ``[b]`` with ``weight y + (1 - weight) y_partner``; labels int64 ``[b]`` of each."""
    one, two = (one_hot(y, logits.shape[1]).to(logits.dtype) for y in (labels, partners))
    return -(torch.lerp(two, one, weight.to(logits.dtype)) * log_softmax(logits, dim=1)).sum(dim=1)


@dataclass(frozen=True)
class MixPlan:
    """A batch's mixing: rows ``chosen`` int64 ``[b]``, and for each view its weight ``[2]`` and partners ``[2, b]``."""

    chosen: Tensor
    weights: Tensor
    partners: Tensor


@dataclass(frozen=True)
class DiscClosure(WeightedClosure):
    """Counts also the images that go through the network once more, mixed."""

    mixed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    def losses(self, rows: Tensor | None) -> Tensor:
        """Per-image losses, of all images or of ``rows``."""
        if torch.is_grad_enabled():
            number = int((self.mixed if rows is None else self.mixed[rows]).sum())
            self.task.count_gradients(2 * number if number >= SMALLEST else 0)
        return super().losses(rows)


@algorithm("disc", cite="li2023disc")
class Disc(OneNetwork):
    """DISC: labels trusted, distrusted and corrected by each image's own threshold  (Li et al. 2023, section 3).

    Every image has a weak view, the suite's ``augment``, and a strong one, which adds the steps ``strong``. For each
    view its threshold is the running average of its largest predicted probability, t <- momentum t + (1 - momentum)
    max p, 1 / N at first. After each epoch, by the predictions made while training and the thresholds before they
    move: clean C where p_y > t in both views; hard H where in one; corrected P where in none but the mean prediction's
    largest entry exceeds the mean t + ``sigma`` (at most 0.99), which is the new label; M = C + H + P. For ``warm_up``
    epochs the loss is the cross entropy of both views with all noisy labels; afterwards, a batch of B images,

        1/B [sum_C CE_w + CE_s + hard sum_H GCE_w + GCE_s] + 1/|M| sum_M mix_w + mix_s,

    GCE with q 0.7, and mix the cross entropy of mixup within M and within a view (a weight ~ Beta(alpha, alpha) folded
    to >= 1/2 and a permutation for each), in forward passes of their own. Images in no set only go through the first
    forward pass, which gives their predictions.

    Authors' defaults: alpha 5, sigma 0.5, momentum 0.99, hard 1, warm-up 20. Their code sets by the true noise: on
    CIFAR-10 and -100 momentum 0.95 for asymmetric noise and from 60 % on, there with hard 0.2; warm-up 15 for
    instance-dependent noise; Adam 0.001 above 60 %. Overrides by noise are marked rate-aware. Their training (``recipe:
    authors``), ResNet-18 (34 for instance-dependent noise), batch 128, crop with reflection and flip:

        training: {epochs: 200, augment: [flip, {crop: {mode: reflect}}],
                   optimizer: {name: sgd, lr: 0.1, momentum: 0, weight_decay: 1e-3},
                   schedule: {name: multistep, milestones: [80, 160], gamma: 0.1}}

    ``strong`` (None): two operations of RandAugment with levels up to 4, then a square of 15 % of the side erased, as
    their CIFAR-10 (levels up to 9 on CIFAR-100). Differs from their code in that RandAugment's operations are those of
    FixMatch (theirs add inversion and stronger colours, and bend less), in that what is erased becomes the mean, that
    GCE does not clamp p_y at 1e-7, that a single image is not mixed, and that the warm-up is at most half of a run.
    ``estimated_noise_rate``: share of the training part whose mean prediction is not its label at the end;
    ``clean_share``, ``hard_share``, ``corrected_share``. Memory: 2 K + 4 numbers an image; activations of 2 B images,
    and of each view's mixed ones.
    """

    capturable = False  # as many images are mixed as the sets hold
    state = ("weak", "strong", "thresholds", "clean", "hard", "corrected", "mix_labels")

    def __init__(
        self,
        task: Task,
        *,
        warm_up: Annotated[Epochs, Field(ge=1)] = 20,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        sigma: Annotated[float, Field(ge=0, le=1)] = 0.5,
        hard: Annotated[float, Field(ge=0)] = 1.0,
        alpha: Annotated[float, Field(gt=0)] = 5.0,
        strong: Strong | None = None,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task, " (its alpha is algorithm.alpha)")
        refuse_other_losses(task)
        self.momentum, self.sigma, self.hard_weight, self.alpha = momentum, sigma, hard, alpha
        self.warm_up = max(1, min(warm_up, int(task.training["epochs"]) // 2))
        steps: list[Any] = [{"randaugment": {"levels": 5}}, {"cutout": {"size": max(1, int(SIDE * task.shape[1]))}}]
        self.augment = strong_augment(task, steps if strong is None else strong)
        n, device = len(task.labels), task.device
        self.weak, self.strong = torch.zeros(2, n, task.num_classes, device=device).unbind()
        self.thresholds = torch.full((2, n), 1 / len(task.index), device=device)
        self.clean, self.hard, self.corrected = torch.zeros(3, n, dtype=torch.bool, device=device).unbind()
        self.mix_labels = task.labels.clone()

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass over both views, then the next epoch's sets."""
        task = self.task
        others = task.loader(first_view=1, augment=self.augment).epoch(epoch)
        plans = self._draws(epoch, loader)
        total, images = torch.zeros((), device=task.device), 0
        for batch in task.batches(loader, epoch):
            strong, (weights, keys) = next(others).images, next(plans)
            if epoch < self.warm_up:
                loss = self._plain_step(batch, strong)
            else:
                loss = self._guided_step(batch, strong, self._plan(batch, weights, keys))
            total += loss * len(batch.index)
            images += len(batch.index)
        self._end_epoch()
        return total / images

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate`` and the shares of the last sets."""
        index = self.task.index
        sets = {"clean_share": self.clean, "hard_share": self.hard, "corrected_share": self.corrected}
        noise = disagreement((self.weak + self.strong)[index], self.task.labels[index])
        return {"estimated_noise_rate": noise} | {k: float(v[index].double().mean()) for k, v in sets.items()}

    # -- steps ------------------------------------------------------------------------------------------------------

    def _plain_step(self, batch: Batch, strong: Tensor) -> Tensor:
        ones = torch.ones(len(batch.labels), device=self.task.device)

        def losses(pair: tuple[Tensor, Tensor], rows: Tensor | None) -> Tensor:
            labels = batch.labels if rows is None else batch.labels[rows]
            return selected_losses(*pair, labels, ones[: len(labels)], torch.zeros_like(ones[: len(labels)]))

        pair = self._pair(batch.images, strong, None)
        self._remember(batch, pair)
        return self.learn(
            batch.images,
            lambda rows: losses(self._pair(batch.images, strong, rows), rows),
            ready=losses(pair, None),
            passes=2,
        )

    def _guided_step(self, batch: Batch, strong: Tensor, plan: MixPlan) -> Tensor:
        task, size = self.task, len(batch.labels)
        clean, hard = self.clean[batch.index].float(), self.hard_weight * self.hard[batch.index].float()
        mixed = torch.zeros(size, dtype=torch.bool, device=task.device)
        mixed[plan.chosen] = True

        def losses(pair: tuple[Tensor, Tensor], rows: Tensor | None) -> Tensor:
            part = slice(None) if rows is None else rows
            losses = selected_losses(*pair, batch.labels[part], clean[part], hard[part])
            return losses + self._mixed(batch, (batch.images, strong), plan, mixed, rows)

        pair = self._pair(batch.images, strong, None)
        self._remember(batch, pair)
        closure = DiscClosure(
            task,
            self.optimizer,
            lambda rows: losses(self._pair(batch.images, strong, rows), rows),
            torch.ones(size, device=task.device),
            [losses(pair, None)],
            2,
            mixed,
        )
        return descend(self.optimizer, closure, batch.images)

    def _mixed(
        self, batch: Batch, views: tuple[Tensor, Tensor], plan: MixPlan, mixed: Tensor, rows: Tensor | None
    ) -> Tensor:
        """B / |M| times both views' mixup losses in the rows of M, 0 in the others, ``[B]`` or of ``rows``."""
        number = len(plan.chosen)
        size = len(mixed) if rows is None else len(rows)
        place = (mixed if rows is None else mixed[rows]).nonzero()[:, 0]
        out = torch.zeros(size, device=self.task.device)
        if len(place) < SMALLEST:
            return out
        chosen = place if rows is None else rows[place]
        labels = self.mix_labels[batch.index]
        at = torch.zeros(len(mixed), dtype=torch.int64, device=self.task.device)
        at[plan.chosen] = torch.arange(number, device=self.task.device)
        total = torch.zeros(len(place), device=self.task.device)
        for images, weight, partners in zip(views, plan.weights, plan.partners, strict=True):
            partner = partners[at[chosen]]
            logits = self.logits(torch.lerp(images[partner], images[chosen], weight))
            total = total + mixed_losses(logits, labels[chosen], labels[partner], weight)
        return out.index_copy(0, place, total * (len(mixed) / number))

    def _pair(self, weak: Tensor, strong: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits of both views, in one forward pass."""
        views = torch.cat([weak, strong] if rows is None else [weak[rows], strong[rows]])
        one, two = self.logits(views).chunk(2)
        return one, two

    def _remember(self, batch: Batch, pair: tuple[Tensor, Tensor]) -> None:
        self.weak[batch.index], self.strong[batch.index] = (z.detach().softmax(dim=1) for z in pair)

    def _end_epoch(self) -> None:
        sets = divide(self.weak, self.strong, self.thresholds, self.task.labels, self.sigma, self.mix_labels)
        self.thresholds = moved(self.thresholds, self.weak, self.strong, self.momentum)
        self.clean, self.hard, self.corrected, self.mix_labels = sets.clean, sets.hard, sets.corrected, sets.labels

    # -- draws ------------------------------------------------------------------------------------------------------

    def _draws(self, epoch: int, loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch the weights ``[2]`` and the keys ``[2, B]`` that order partners; copied once."""
        task, sizes = self.task, loader.sizes
        drawn = Draws(task.seed, "method", "disc", epoch).generator().beta(self.alpha, self.alpha, (len(sizes), 2))
        weights = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float().to(task.device)
        generator = torch_generator(task.seed, "method", "disc", epoch)
        keys = torch.rand(2, sum(sizes), generator=generator, dtype=torch.float64).to(task.device)
        return zip(weights, keys.split(list(sizes), dim=1), strict=True)  # type: ignore[no-untyped-call]  # torch's own

    def _plan(self, batch: Batch, weights: Tensor, keys: Tensor) -> MixPlan:
        mixed = self.clean[batch.index] | self.hard[batch.index] | self.corrected[batch.index]
        chosen = mixed.nonzero()[:, 0]
        return MixPlan(chosen, weights, chosen[keys[:, chosen].argsort(dim=1, stable=True)])
