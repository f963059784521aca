"""UNICON: clean labels chosen class by class, the other images learnt from by guessing and by contrast."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from noisybench.data.loader import Batch, Loader
from noisybench.methods import mixmatch
from noisybench.methods.contrastive import Representation, nt_xent
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.dividemix import SMALLEST, DivideMix, Split
from noisybench.methods.one_network import refuse_mixup
from noisybench.methods.strong_views import Strong, strong_augment
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import derive, torch_generator

TEMPERATURE = 0.05
"""Of the contrastive loss in the authors' code."""


def jensen_shannon(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Jensen-Shannon divergence of p and the one-hot label per sample ``[B]``, in nats: 0 to ln 2."""
    given = one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    middle = (probabilities + given) / 2
    spread = torch.xlogy(probabilities, probabilities) - torch.xlogy(probabilities, middle)
    return (spread - torch.xlogy(given, middle)).sum(dim=1) / 2


def cut_off(distances: Tensor, bound: float, tau: float) -> Tensor:
    """Mean distance, or where that exceeds ``bound``, moved towards the smallest by 1 / ``tau`` of the way."""
    mean = distances.mean()
    return torch.where(mean > bound, mean - (mean - distances.min()) / tau, mean)


def uniform_selection(distances: Tensor, labels: Tensor, share: float, num_classes: int) -> Tensor:
    """Of each class the floor(share n / K) samples with the smallest distances, ties by index: bool ``[n]``."""
    n, device = len(labels), labels.device
    quota = int(share * n / num_classes)
    order = distances.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    counts = torch.zeros(num_classes, dtype=torch.int64, device=device).index_add_(0, labels, torch.ones_like(labels))
    rank = torch.arange(n, device=device) - (counts.cumsum(0) - counts)[labels[order]]
    chosen = torch.zeros(n, dtype=torch.bool, device=device)
    chosen[order] = rank < quota
    return chosen


def trust(distances: Tensor) -> Tensor:
    """How far a chosen label counts beside the prediction: 1 where the distance is below 1/2, else 1 - distance."""
    return torch.where(distances < 0.5, torch.ones_like(distances), 1 - distances)


class Projected(nn.Module):
    """A network and a linear projection of what its classifier takes, with batch norm. A call gives the logits."""

    def __init__(self, network: nn.Module, representation: Representation, dimensions: int, seed: int) -> None:
        super().__init__()
        self.network, self.representation = network, representation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Sequential(nn.Linear(representation.size, dimensions), nn.BatchNorm1d(dimensions))
        self.head.to(next(network.parameters()).device)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, K]``."""
        logits: Tensor = self.network(images)
        return logits

    def projected(self, images: Tensor) -> Tensor:
        """``[B, dimensions]``."""
        projection: Tensor = self.head(self.representation(self.network, images))
        return projection


@algorithm("unicon", cite="karim2022unicon", ensemble=2)
class Unicon(DivideMix):
    """UNICON: DivideMix with a balanced choice of labels and a contrastive loss  (Karim et al. 2022, algorithm 1).

    Warm-up as in ``dividemix``. Then, before each network's pass, d_i is the Jensen-Shannon divergence (nats) of the
    label and the mean prediction of both networks (eval mode, no augmentation); R is the share of training images with
    d below the cut-off: the mean of d or, where that exceeds ``bound``, the mean minus (mean - min) / ``tau``.
    Labelled are the R n / K images of each class with the smallest d. Both networks get the same split. A batch has B
    labelled and B / (2 R) unlabelled images, each with two weak views, the suite's ``augment``, and two strong ones,
    which add the steps ``strong``. Weak views give the targets as in DivideMix, with w = 1 where d < 1/2, else 1 - d;
    strong views are mixed and learnt from: Lx + lambda_u(e) Lu + penalty (see ``mixmatch``) + ``lambda_c`` times
    NT-Xent (temperature 0.05) of both strong views of the unlabelled images, projected to ``dimensions`` by a linear
    layer with batch norm. The answer is the mean of both networks' logits.

    Defaults are the authors' for all noise: lambda_u 30, lambda_c 0.025, warm-up 10 (30 on CIFAR-100), bound 0.7, tau
    5. A bound above ln 2 = 0.693 never acts, as in their code, whose divergence is in nats too. Their training
    (``recipe: authors``), PreActResNet-18, ``batch_size: 128`` (their 64, which is B):

        training: {epochs: 350, optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 5e-4}, schedule: cosine}

    to 2e-4, reached at epoch 280. ``confidence_penalty`` is on in their warm-up where the noise is asymmetric, which
    they know: rate-aware. ``strong`` (None): two operations of RandAugment; theirs is AutoAugment's policy for
    CIFAR-10, which is not offered. Differs further in that divergences are measured in eval mode (there the network
    that was trained last is in train mode), that a class with too few images adds no others (there copies of the first
    image of the set), that last batches are kept, and in the warm-up and the empty sets as ``dividemix`` does.
    ``estimated_noise_rate``: share of the training part whose mean prediction is not its label at the last splits;
    ``labelled_share``. Memory: two networks with a projection each and their optimisers; activations of 2 B (1 + 1 /
    2R) images, and of the unlabelled ones' two views.
    """

    def __init__(
        self,
        task: Task,
        *,
        warm_up: Annotated[Epochs, Field(ge=1)] = 10,
        lambda_u: Annotated[float, Field(ge=0)] = 30.0,
        lambda_c: Annotated[float, Field(ge=0)] = 0.025,
        ramp: Annotated[Epochs, Field(ge=0)] = 16,
        alpha: Annotated[float, Field(gt=0)] = 4.0,
        temperature: Annotated[float, Field(gt=0)] = 0.5,
        bound: Annotated[float, Field(ge=0)] = 0.7,
        tau: Annotated[float, Field(gt=0)] = 5.0,
        dimensions: Annotated[int, Field(ge=1)] = 128,
        strong: Strong | None = None,
        confidence_penalty: bool = False,
        batch_size: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        refuse_mixup(task, " (its alpha is algorithm.alpha)")
        super().__init__(
            task,
            warm_up=warm_up,
            lambda_u=lambda_u,
            ramp=ramp,
            alpha=alpha,
            temperature=temperature,
            confidence_penalty=confidence_penalty,
            batch_size=batch_size,
        )
        self.lambda_c, self.bound, self.tau = lambda_c, bound, tau
        self.augment = strong_augment(task, ["randaugment"] if strong is None else strong)
        task.release([], self.optimizers)  # theirs know nothing of the projections
        bare: list[nn.Module] = list(self.networks)
        representation = Representation.of(task, bare[0])
        seeds = [derive(task.seed, "method", "unicon projection", number) for number in range(2)]
        self.networks = [Projected(net, representation, dimensions, s) for net, s in zip(bare, seeds, strict=True)]
        self.optimizers = [task.optimizer(network) for network in self.networks]

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch of both networks, one after the other; each on a split made just before."""
        if epoch < self.warm_up:
            return torch.stack([self._plain_pass(number, epoch, loader) for number in range(2)]).mean()
        return torch.stack(
            [self._train_on(self.divide(number, epoch), number, epoch, loader) for number in range(2)]
        ).mean()

    # -- selection --------------------------------------------------------------------------------------------------

    def divide(self, number: int, epoch: int) -> Split:
        """The split for network ``number``, by the mean prediction of both networks."""
        task, index = self.task, self.task.index
        labels = task.labels[index]
        predicted = [task.predict_train(functools.partial(task.forward, network))[index] for network in self.networks]
        probabilities = mixmatch.mean_probabilities(predicted)
        distances = jensen_shannon(probabilities, labels)
        share = float((distances < cut_off(distances, self.bound, self.tau)).double().mean())
        chosen = uniform_selection(distances, labels, share, task.num_classes)
        clean = torch.zeros(len(task.labels), device=task.device)
        clean[index] = trust(distances)
        self.filter_rate = share
        self.labelled_shares[number] = float(chosen.double().mean())
        self.noise_rates[number] = float((probabilities.argmax(dim=1) != labels).double().mean())
        return Split(clean, index[chosen], index[~chosen])

    # -- passes -----------------------------------------------------------------------------------------------------

    def _train_on(self, split: Split, number: int, epoch: int, loader: Loader) -> Tensor:
        """One pass of network ``number`` over the labelled set."""
        if len(split.labelled) < SMALLEST:
            return self._plain_pass(number, epoch, loader)
        task, other = self.task, self.networks[1 - number]
        labelled, strong = self._loaders(split.labelled, self.batch_size)
        size = max(SMALLEST, int(self.batch_size / (2 * self.filter_rate)))
        guessing = self._endless(split.unlabelled, size, epoch, number)
        steps, own = len(labelled), self._pass(epoch, number, "labelled")
        weights, _ = self._draws(epoch, number, steps)
        keys = self._keys(epoch, number, steps, 2 * (self.batch_size + 1) + 2 * (size + 1))
        other.eval()
        total = torch.zeros((), device=task.device)
        views = strong.epoch(own)
        for step, batch in enumerate(task.batches(labelled, own)):
            guess = next(guessing) if guessing else None
            joined = self._joined(number, split, batch, next(views), guess)
            partner = keys[step, : len(joined.targets)].argsort(stable=True)
            mixed = mixmatch.mix(joined, weights[step], partner)
            strength = self.lambda_u * mixmatch.ramp(epoch + step / steps - self.warm_up, self.ramp)
            total += self._learn(number, mixed, strength, guess[1].images if guess else None)
        other.train()
        return total / steps

    def _learn(self, number: int, mixed: mixmatch.MixedBatch, lambda_u: float, pair: list[Tensor] | None) -> Tensor:
        task, network = self.task, self.networks[number]

        def losses(rows: Tensor | None) -> Tensor:
            contrast = self._contrast(number, pair) if pair is not None and self.lambda_c > 0 else 0.0
            logits = task.forward(network, mixed.images if rows is None else mixed.images[rows])
            return mixed.losses(logits, lambda_u, rows) + self.lambda_c * contrast

        ones = torch.ones(len(mixed.targets), device=task.device)
        optimizer = self.optimizers[number]
        return descend(optimizer, WeightedClosure(task, optimizer, losses, ones, []), mixed.images)

    def _contrast(self, number: int, pair: list[Tensor]) -> Tensor:
        """NT-Xent of two strong views, a forward pass each."""
        network: Any = self.networks[number]
        if torch.is_grad_enabled():
            self.task.count_gradients(2 * len(pair[0]))
        with self.task.autocast():
            one, two = (network.projected(view) for view in pair)
        return nt_xent(one.float(), two.float(), TEMPERATURE).mean()

    @torch.no_grad()
    def _joined(
        self, number: int, split: Split, batch: Batch, strong: Batch, guess: tuple[Batch, Batch] | None
    ) -> mixmatch.MixedBatch:
        """Strong views with targets from the weak ones, not mixed yet."""
        targets = self._targets(number, split, batch, guess[0] if guess else None).targets
        images = torch.cat([*strong.images, *(guess[1].images if guess else [])])
        return mixmatch.MixedBatch(images, targets, 2 * len(batch.index))

    # -- data and draws ---------------------------------------------------------------------------------------------

    def _loaders(self, index: Tensor, batch_size: int) -> tuple[Loader, Loader]:
        """Two weak and two strong views of the same batches."""
        size = min(batch_size, len(index))
        return (
            self.task.loader(index, views=2, batch_size=size),
            self.task.loader(index, views=2, first_view=2, augment=self.augment, batch_size=size),
        )

    def _endless(self, index: Tensor, size: int, epoch: int, number: int) -> Iterator[tuple[Batch, Batch]] | None:
        """Unlabelled batches without end, in a new order each time round; None when there are too few images."""
        if len(index) < SMALLEST:
            return None
        weak, strong = self._loaders(index, size)

        def endless() -> Iterator[tuple[Batch, Batch]]:
            for cycle in itertools.count():
                own = self._pass(epoch, number, f"unlabelled {cycle}")
                yield from zip(weak.epoch(own), strong.epoch(own), strict=True)

        return endless()

    def _keys(self, epoch: int, number: int, steps: int, rows: int) -> Tensor:
        """An epoch's keys that order partners, ``[steps, rows]``, copied once."""
        generator = torch_generator(self.task.seed, "method", "unicon mix", epoch, number)
        return torch.rand(steps, rows, generator=generator).to(self.task.device)
