"""A start without labels: SimCLR's contrastive learning as the first phase of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError, ParameterError
from noisybench.methods.algorithm import Algorithm, Phase
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.erm import EmpiricalRiskMinimisation
from noisybench.methods.network_parts import parts_of
from noisybench.methods.task import Task
from noisybench.models.layers import global_average
from noisybench.optim import build_schedule
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import derive
from noisybench.suite.augmentations import parse_augment

PHASE = "self-supervised"
BASE_TEMPERATURE = 0.07
"""The authors' code multiplies the loss by temperature / 0.07; their learning rates are meant for that."""
END = 1e-3
"""Share of the learning rate at the end of the authors' cosine."""


def _written_out(augment: Any) -> list[dict[str, Any]]:
    try:
        return parse_augment(augment)
    except ParameterError as error:
        raise ValueError(str(error)) from None


Views = Annotated[list[Any], BeforeValidator(_written_out)]
VIEWS = parse_augment(["resized_crop", "flip", "color_jitter", "grayscale"])
"""The authors' augmentation on CIFAR, as ``training.augment`` would have it."""
StartEpochs = Annotated[Epochs, Field(ge=1)] | None
StartBatch = Annotated[int, Field(ge=2)] | None
StartRate = Annotated[float, Field(gt=0)] | None
Temperature = Annotated[float, Field(gt=0)]
Dimensions = Annotated[int, Field(ge=1)]


# -- the loss -------------------------------------------------------------------------------------------------------


def nt_xent(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """NT-Xent per image ``[B]``, the mean of its two views'  (Chen et al. 2020, eq. 1).

    ``-log(exp(s(z, z+) / T) / sum_other exp(s(z, other) / T))`` with cosine similarity s, z+ the other view of the same
    image, and the other view and all views of the other images in the sum. ``one``, ``two``: projections ``[B, d]``.
    """
    views = normalize(torch.cat([one, two]), dim=1)
    similar = views @ views.T / temperature
    similar.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(views), device=views.device).roll(len(one))
    return cross_entropy(similar, partner, reduction="none").view(2, -1).mean(dim=0)


# -- the network before its classifier --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Representation:
    """What the classifier of a network takes. ``classifier``: the names of its last layer and of what follows it."""

    classifier: Sequence[str]
    size: int

    @classmethod
    def of(cls, task: Task, network: nn.Module) -> Representation:
        """Found by watching a forward pass. InputError for a network without a hidden layer."""
        found: list[Representation] = []

        def look(images: Tensor) -> Tensor:
            parts = parts_of(network, images)
            if not parts.former:
                raise InputError("a self-supervised start needs a network with a hidden layer")
            taken = taken_by(network, parts.head[0], images)
            found.append(cls(parts.head, taken.shape[1]))
            return taken

        with task.autocast():
            task.evaluate(look, task.images[:2])
        return found[0]

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """``[B, size]`` of normalised images; a map is averaged over its pixels."""
        return taken_by(network, self.classifier[0], images)

    @torch.no_grad()
    def copy(self, source: nn.Module, target: nn.Module) -> None:
        """All weights and statistics of ``source`` but the classifier's into ``target``."""
        own = target.state_dict()
        for name, value in source.state_dict().items():
            if not any(name.startswith(f"{part}.") for part in self.classifier):
                own[name].copy_(value)


def taken_by(network: nn.Module, layer: str, images: Tensor) -> Tensor:
    """What ``layer`` takes as input in a forward pass of ``network``, ``[B, d]``."""
    kept: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_pre_hook(lambda module, arguments: kept.append(arguments[0]))
    try:
        network.forward(images)  # not a call: a compiled network would not run hooks that came later
    finally:
        handle.remove()
    return global_average(kept[0]) if kept[0].ndim == 4 else kept[0].flatten(1)


def projection_head(size: int, dimensions: int, seed: int) -> nn.Module:
    """linear - ReLU - linear, torch's initialisation from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, dimensions))


# -- the phase --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """The parameters of the first phase; see ``SimCLRStart``."""

    epochs: int | None
    batch_size: int | None
    lr: float | None
    temperature: float
    dimensions: int
    augment: list[dict[str, Any]]


class ContrastiveStart(Algorithm):
    """Put before a method's class, it gives the method a first phase in which ``encoder`` learns without labels.

    A subclass makes its networks, then calls ``prepare``; ``begin_method`` hands on what was learnt. The method counts
    its epochs from 0, so it sees the images in the order in which it would see them without the phase. Projection head
    and its optimiser are let go after the phase.
    """

    capturable = False  # the representation is caught by a hook

    projection: nn.Module | None
    pretrainer: torch.optim.Optimizer | None

    @property
    def encoder(self) -> nn.Module:
        """The network that learns without labels; its classifier stays as it was initialised."""
        return self.model

    def prepare(self, start: Start) -> None:
        """Make the projection head and the optimiser of both."""
        task = self.task
        self.start, self.phase_name = start, ""
        self.start_epochs = int(task.training["epochs"]) if start.epochs is None else start.epochs
        self.representation = Representation.of(task, self.encoder)
        seed = derive(task.seed, "method", "projection head")
        self.projection = projection_head(self.representation.size, start.dimensions, seed).to(task.device)
        self.pretrainer = task.optimizer(self.encoder, self.projection)
        if start.lr is not None:
            for group in self.pretrainer.param_groups:
                group["initial_lr"] = start.lr

    def begin_method(self) -> None:
        """Called once, when the phase is over."""

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """The phase without labels, on a cosine of its own, then the method's."""
        cosine = build_schedule("cosine", end=END)
        own = Phase(PHASE, self.start_epochs, lambda position: cosine(position, self.start_epochs))
        return [own, *super().phases(training)]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """After the phase: hand on what was learnt, let go what it needed."""
        if phase.name == PHASE:
            return
        if self.pretrainer is not None:
            self.begin_method()
            self._let_go()
        super().begin_phase(number - 1, phase)

    def loader(self, phase: Phase) -> Loader:
        """Two views of every image in the phase, the method's batches afterwards."""
        self.phase_name = phase.name
        if phase.name != PHASE:
            return super().loader(phase)
        return self.task.loader(views=2, augment=self.start.augment, batch_size=self.start.batch_size)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch without labels, or of the method."""
        if self.phase_name != PHASE:
            return super().train_epoch(epoch - self.start_epochs, loader)
        total, images = torch.zeros((), device=self.task.device), 0
        for batch in self.task.batches(loader, epoch):
            total += self._contrast(batch) * len(batch.index)
            images += len(batch.index)
        return total / images

    def _contrast(self, batch: Batch) -> Tensor:
        """One step on both views of a batch, in one forward pass."""
        assert self.pretrainer is not None
        weights = torch.full(
            (len(batch.index),), self.start.temperature / BASE_TEMPERATURE, device=self.task.device
        )  # the authors' factor

        def losses(rows: Tensor | None) -> Tensor:
            views = batch.images if rows is None else [view[rows] for view in batch.images]
            one, two = self.projected(torch.cat(views)).chunk(2)
            return nt_xent(one, two, self.start.temperature)

        closure = WeightedClosure(self.task, self.pretrainer, losses, weights, [], networks=2)
        return descend(self.pretrainer, closure, batch.images[0])

    def projected(self, images: Tensor) -> Tensor:
        """Projections ``[B, dimensions]``, float32."""
        assert self.projection is not None
        with self.task.autocast():
            projected: Tensor = self.projection(self.representation(self.encoder, images))
        return projected.float()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Back to a saved state, of the phase or after it."""
        if "pretrainer" not in state["optimizers"]:
            self._let_go()
        super().load_state_dict(state)

    def _let_go(self) -> None:
        if self.pretrainer is not None:
            self.task.release([], [self.pretrainer])
        self.projection, self.pretrainer = None, None


@algorithm("simclr_start", cite="chen2020simclr")
class SimCLRStart(ContrastiveStart, EmpiricalRiskMinimisation):
    """Plain training of a network that has learnt without labels first: SimCLR, then ``erm``  (Chen et al. 2020).

    For ``start_epochs`` the network f up to its classifier and a projection head g (linear - ReLU - linear, to
    ``start_dimensions``) learn to tell two augmented views of an image from the views of the batch's other images, by
    ``nt_xent`` of g(f(x)) with ``start_temperature`` T; labels play no part. Then g is dropped, the classifier, still
    as it was initialised, is put on f, batch norm's statistics included, and the whole network is trained as ``erm``
    does, with the suite's loss and mixup. The suite's optimiser drives both; the first phase has ``start_lr`` (None:
    the suite's), ``start_batch_size`` (None: the suite's) and a cosine to a thousandth. Its epochs (None: as many as
    ``training.epochs``) come on top of them, and ``training.warmup`` happens in it; its gradients are counted, two an
    image.

    The start of Contrast to Divide's networks (Zheltonozhskii et al. 2022), which its authors take from the SimCLR of
    SupContrast: 1,000 epochs, ``start_batch_size: 1024, start_lr: 0.5, start_temperature: 0.5``, momentum 0.9, weight
    decay 1e-4, ten epochs of warm-up. As there the loss is multiplied by T / 0.07, so their rates can be taken over.
    ``start_augment`` is written as ``training.augment`` is; its default is theirs for 32x32 photographs, and too much
    for other images: digits are not to be mirrored, nor cut to a fifth. Differs from their code in that weight decay is
    the suite's in both phases. Until the phase is over test accuracies are those of an untrained classifier. Nothing
    here keeps the second phase from fitting wrong labels: a long one memorises as ``erm`` does.

    Memory in the phase: activations of two views a batch, and similarities of (2 B)^2.
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
    ) -> None:
        super().__init__(task)
        self.prepare(
            Start(start_epochs, start_batch_size, start_lr, start_temperature, start_dimensions, start_augment)
        )
