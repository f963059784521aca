"""DivideMix: two networks split the data for one another and learn semi-supervised (Li et al. 2020)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError
from noisybench.methods import mixmatch
from noisybench.methods.algorithm import Algorithm, Phase
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.task import Task
from noisybench.optim import build_schedule
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import Draws, derive, torch_generator

SMALLEST = 2
"""A labelled or unlabelled set with fewer images than this is not used: batch norm cannot take a batch of one."""


@dataclass(frozen=True)
class Split:
    """What one network thinks of the training part: probabilities ``[N]`` of a right label, and the two sets."""

    clean: Tensor
    labelled: Tensor
    unlabelled: Tensor


@algorithm("dividemix", cite="li2020dividemix", ensemble=2)
class DivideMix(Algorithm):
    """Two networks; labels that look wrong are dropped and guessed  (Li et al. 2020, algorithm 1).

    Warm-up: both networks on all noisy labels with the suite's loss. Then each epoch both measure the cross entropy of
    every training image (eval mode, no augmentation), brought to [0, 1]; a mixture of two Gaussians gives w, the
    probability of a right label; labelled are those with w > ``threshold``. Each network is trained for one pass over
    the set that the *other* network calls labelled, with as many unlabelled images a batch (recycled), two
    augmentations of each: targets of labelled images are co-refined, those of the others co-guessed by both networks,
    sharpened with ``temperature``; everything is mixed (``alpha``, one folded weight and one permutation a batch);
    loss Lx + lambda_u(e) Lu + penalty (see ``mixmatch``), lambda_u rising linearly over ``ramp`` epochs. The answer is
    the mean of both networks' logits. A batch of ``training.batch_size`` B gives B / 2 labelled and B / 2 unlabelled
    images (``batch_size`` states another number), 2 B rows a step.

    The authors set three things by the true noise: ``lambda_u`` (CIFAR-10: 0 at 20 % and for asymmetric noise, 25 at
    50 and 80 %, 50 at 90 %; CIFAR-100: 25 at 20 %, else 150), ``average`` (5 at 90 %: losses are averaged over that
    many epochs before the split) and ``confidence_penalty`` (in warm-up under asymmetric noise). Here they are
    parameters with one default for all noise; overrides by noise are marked rate-aware.

    Authors' training: PreActResNet-18, 300 epochs, ``batch_size: 128`` (their 64), ``optimizer: {name: sgd, lr: 0.02,
    momentum: 0.9, weight_decay: 5e-4}``, ``schedule: {name: multistep, milestones: [150], gamma: 0.1}``, ``warm_up:
    10`` (30 on CIFAR-100). The suite's schedule runs over both phases as one. As in the authors' code guesses come from
    the trained network in train mode (they move its batch norm) and from the other in eval mode, a pass a view.
    Differs from it in that the warm-up is at most half of a short run; a network whose labelled set is empty gets a
    warm-up epoch, and one whose unlabelled set is empty learns from the labelled; mixup in the suite is refused.
    ``estimated_noise_rate`` is the weight of the component with the larger losses in the last epoch, mean of both.
    Memory: two networks and their optimisers; activations of 2 B images.
    """

    capturable = False  # sets, and so last batches, change from epoch to epoch
    state = ("history", "noise_rates", "labelled_shares")

    def __init__(
        self,
        task: Task,
        *,
        warm_up: Annotated[Epochs, Field(ge=1)] = 10,
        lambda_u: Annotated[float, Field(ge=0)] = 25.0,
        ramp: Annotated[Epochs, Field(ge=0)] = 16,
        alpha: Annotated[float, Field(gt=0)] = 4.0,
        temperature: Annotated[float, Field(gt=0)] = 0.5,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
        average: Annotated[int, Field(ge=1)] = 1,
        confidence_penalty: bool = False,
        batch_size: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__(task)
        if task.mixup is not None:
            raise InputError("dividemix mixes by itself; leave out method.mixup (its alpha is algorithm.alpha)")
        self.lambda_u, self.ramp, self.alpha = lambda_u, ramp, alpha
        self.temperature, self.threshold, self.average = temperature, threshold, average
        self.confidence_penalty = confidence_penalty
        self.batch_size = batch_size or max(1, int(task.training["batch_size"]) // 2)
        self.warm_up = min(warm_up, int(task.training["epochs"]) // 2)
        self.networks = [task.model(), task.model()]
        self.optimizers = [task.optimizer(network) for network in self.networks]
        self.history = [torch.empty(0, len(task.index), device=task.device) for _ in self.networks]
        self.noise_rates, self.labelled_shares = [0.0, 0.0], [1.0, 1.0]

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """Warm-up, then co-divided training; one schedule over both."""
        params, epochs = dict(training["schedule"]), int(training["epochs"])
        schedule = build_schedule(params.pop("name"), **params)
        later = Phase("co-divide", epochs - self.warm_up, lambda position: schedule(self.warm_up + position, epochs))
        if self.warm_up == 0:
            return [later]
        return [Phase("warm-up", self.warm_up, lambda position: schedule(position, epochs)), later]

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch of both networks, one after the other; both splits are made before."""
        if epoch < self.warm_up:
            passes = self._warm_up(epoch, loader)
        else:
            passes = self._co_divide(epoch, loader)
        return torch.stack(passes).mean()

    def predict(self, images: Tensor) -> Tensor:
        """Mean of both networks' logits."""
        return torch.stack([self.task.forward(network, images) for network in self.networks]).mean(dim=0)

    def details(self) -> dict[str, float]:
        """The last splits: ``estimated_noise_rate`` and ``labelled_share``, means of both networks."""
        return {
            "estimated_noise_rate": float(np.mean(self.noise_rates)),
            "labelled_share": float(np.mean(self.labelled_shares)),
        }

    # -- co-divide --------------------------------------------------------------------------------------------------

    def _warm_up(self, epoch: int, loader: Loader) -> list[Tensor]:
        """A pass of either network over everything."""
        return [self._plain_pass(number, epoch, loader) for number in range(2)]

    def _co_divide(self, epoch: int, loader: Loader) -> list[Tensor]:
        """Both splits, then a pass of either network over the other's."""
        splits = [self.divide(number, epoch) for number in range(2)]
        return [self._train_on(splits[1 - number], number, epoch, loader) for number in range(2)]

    def divide(self, number: int, epoch: int) -> Split:
        """The split that network ``number`` makes of the training part."""
        task, index = self.task, self.task.index
        logits = task.predict_train(functools.partial(task.forward, self.networks[number]))[index]
        losses = mixmatch.normalised(cross_entropy(logits, task.labels[index], reduction="none"))
        self.history[number] = torch.cat([self.history[number], losses[None]])[-self.average :]
        averaged = self.history[number].mean(dim=0).double().cpu().numpy()
        seed = derive(task.seed, "method", "dividemix split", epoch, number)
        posterior, self.noise_rates[number] = self._posterior(averaged, seed)
        clean = torch.zeros(len(task.labels), device=task.device)
        clean[index] = torch.from_numpy(posterior).float().to(task.device)
        above = posterior > self._cut(posterior)
        chosen = torch.from_numpy(above).to(task.device)
        self.labelled_shares[number] = float(above.mean())
        return Split(clean, index[chosen], index[~chosen])

    def _posterior(self, losses: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        """Probability ``[n]`` that each label is right, and the share of wrong ones."""
        return mixmatch.split_by_loss(losses, seed)

    def _cut(self, posterior: np.ndarray) -> float:
        """The probability above which an image counts as labelled."""
        return self.threshold

    # -- passes -----------------------------------------------------------------------------------------------------

    def _plain_pass(self, number: int, epoch: int, loader: Loader) -> Tensor:
        """One network, all noisy labels, the suite's loss; its own order."""
        task, network, optimizer = self.task, self.networks[number], self.optimizers[number]
        total, images = torch.zeros((), device=task.device), 0
        for batch in task.batches(loader, self._pass(epoch, number, "all")):

            def losses(rows: Tensor | None, batch: Batch = batch) -> Tensor:
                logits = task.forward(network, batch.images if rows is None else batch.images[rows])
                losses = task.loss(logits, batch.labels if rows is None else batch.labels[rows])
                return losses + mixmatch.negative_entropy(logits) if self.confidence_penalty else losses

            closure = WeightedClosure(task, optimizer, losses, torch.ones(len(batch.labels), device=task.device), [])
            total += descend(optimizer, closure, batch.images) * len(batch.labels)
            images += len(batch.labels)
        return total / images

    def _train_on(self, split: Split, number: int, epoch: int, loader: Loader) -> Tensor:
        """One pass of network ``number`` over the labelled set of ``split``, which the other network made."""
        if len(split.labelled) < SMALLEST:
            return self._plain_pass(number, epoch, loader)
        task, other = self.task, self.networks[1 - number]
        labelled = self._views(split.labelled)
        guessing = self._recycled(split.unlabelled, epoch, number)
        steps = len(labelled)
        weights, keys = self._draws(epoch, number, steps)
        other.eval()
        total = torch.zeros((), device=task.device)
        for step, batch in enumerate(task.batches(labelled, self._pass(epoch, number, "labelled"))):
            joined = self._targets(number, split, batch, next(guessing) if guessing else None)
            partner = keys[step, : len(joined.targets)].argsort(stable=True)
            mixed = mixmatch.mix(joined, weights[step], partner)
            strength = self.lambda_u * mixmatch.ramp(epoch + step / steps - self.warm_up, self.ramp)
            total += self._step(number, mixed, strength)
        other.train()
        return total / steps

    def _step(self, number: int, mixed: mixmatch.MixedBatch, lambda_u: float) -> Tensor:
        task, network, optimizer = self.task, self.networks[number], self.optimizers[number]

        def losses(rows: Tensor | None) -> Tensor:
            logits = task.forward(network, mixed.images if rows is None else mixed.images[rows])
            return mixed.losses(logits, lambda_u, rows)

        ones = torch.ones(len(mixed.targets), device=task.device)
        return descend(optimizer, WeightedClosure(task, optimizer, losses, ones, []), mixed.images)

    @torch.no_grad()
    def _targets(self, number: int, split: Split, batch: Batch, guess: Batch | None) -> mixmatch.MixedBatch:
        """Both views of labelled and unlabelled images with their refined and guessed targets, not mixed yet."""
        own, other = self.networks[number], self.networks[1 - number]
        images, targets = [], []
        if guess is not None:
            views = [self.task.forward(network, view) for network in (own, other) for view in guess.images]
            images, targets = list(guess.images), [mixmatch.guessed_targets(views, self.temperature)] * 2
        views = [self.task.forward(own, view) for view in batch.images]
        refined = mixmatch.refined_targets(views, batch.labels, split.clean[batch.index], self.temperature)
        return mixmatch.MixedBatch(
            torch.cat([*batch.images, *images]), torch.cat([refined, refined, *targets]), 2 * len(batch.index)
        )

    # -- data and draws ---------------------------------------------------------------------------------------------

    def _views(self, index: Tensor) -> Loader:
        return self.task.loader(index, views=2, batch_size=min(self.batch_size, len(index)))

    def _recycled(self, index: Tensor, epoch: int, number: int) -> Iterator[Batch] | None:
        """Unlabelled batches without end, in a new order each time round; None when there are too few images."""
        if len(index) < SMALLEST:
            return None
        loader = self._views(index)

        def endless() -> Iterator[Batch]:
            for cycle in range(2**31):
                yield from loader.epoch(self._pass(epoch, number, f"unlabelled {cycle}"))

        return endless()

    def _pass(self, epoch: int, number: int, what: str) -> int:
        """A number for loaders, in place of the epoch's: each pass has an order and augmentations of its own."""
        return derive(self.task.seed, "method", "dividemix", epoch, number, what)

    def _draws(self, epoch: int, number: int, steps: int) -> tuple[Tensor, Tensor]:
        """An epoch's mixing weights ``[steps]``, folded to >= 1/2, and the keys that order partners, copied once."""
        name = (self.task.seed, "method", "dividemix mix", epoch, number)
        drawn = Draws(*name).generator().beta(self.alpha, self.alpha, steps)
        weights = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float()
        rows = 4 * (self.batch_size + 1)  # a last batch of one image joins the batch before it
        keys = torch.rand(steps, rows, generator=torch_generator(*name), dtype=torch.float64)
        return weights.to(self.task.device), keys.to(self.task.device)
