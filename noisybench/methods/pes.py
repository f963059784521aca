"""PES: the early stopping of each part of a network at its own time, then training on what the network confirms."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softmax

from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError
from noisybench.methods.algorithm import Phase
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.network_parts import Parts, parts_of
from noisybench.methods.one_network import OneNetwork, refuse_mixup
from noisybench.methods.task import Task
from noisybench.methods.two_networks import losses_of
from noisybench.optim import build_schedule
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import derive

AUTHORS_RATE, AUTHORS_STEPS = 1e-4, 351
"""Learning rate with which the authors refine, and their steps an epoch: 45,000 images in batches of 128."""
LARGEST_RATE = 0.01
SMALLEST = 2
"""A confirmed set with fewer images than this is not used."""


def confirmed(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Where the largest of the probabilities ``[n, K]`` is the label's: bool ``[n]``."""
    return probabilities.argmax(dim=1) == labels


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Mean count of the classes that occur over each class's count, ``[K]``; 0 for those that do not."""
    counts = torch.bincount(labels, minlength=num_classes).double()
    present = counts > 0
    return torch.where(present, counts.sum() / present.sum().clamp(min=1) / counts.clamp(min=1), 0.0)


def balanced(weights: Tensor, labels: Tensor) -> Tensor:
    """Weights ``[B]`` of a batch, with mean 1, in proportion to those of its labels' classes ``[K]``."""
    own = weights[labels]
    return own * (len(labels) / own.sum())


def scaled_rate(steps: int) -> float:
    """Adam's learning rate that goes as far in an epoch of ``steps`` as the authors' 1e-4 in theirs, at most 0.01."""
    return min(LARGEST_RATE, AUTHORS_RATE * AUTHORS_STEPS / steps)


@algorithm("pes", cite="bai2021pes")
class ProgressiveEarlyStopping(OneNetwork):
    """PES: early stopping part by part, latter layers sooner  (Bai et al. 2021, without the semi-supervised stage).

    ``early``: ``early_epochs`` of plain training. ``stage``: the last stage and the head are initialised anew and
    trained for ``stage_epochs`` with all before them fixed; ``head``: the head alone, anew, for ``head_epochs``, with
    all before it fixed. ``confident``, the remaining epochs: before each, images whose noisy label is the largest mean
    probability over two augmented views (eval mode) are confirmed, and the network is trained on those, classes
    weighed by mean count / count. Loss, and in the first and last phase optimiser and schedule (one over both, fresh
    momentum), are the suite's; ``stage`` and ``head`` have Adam with the constant ``refine_rate``, whatever the suite
    has, and fixed layers stay in train mode (batch norm goes on counting). See ``network_parts`` for what is a stage; a
    network without any layer before its last hidden one (``mlp`` of depth 1) has no phase ``stage``.

    ``refine_rate`` null: the authors' 1e-4 in their 351 steps an epoch, more where there are fewer (``scaled_rate``).
    ``refined``: what happens to the renewed layers in the last phase, ``trained`` as the paper says or ``fixed`` as
    the authors' code does, whose optimiser still holds the layers that were replaced.

    Defaults are the authors' for CIFAR-10 (CIFAR-100: ``early_epochs`` 30), whatever the noise. Their training
    (``recipe: authors``), ResNet-18 (CIFAR-100: 34), batch 128, crop and flip:

        training: {epochs: 200, optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: multistep, milestones: [100, 150], gamma: 0.1}}

    They answer with the best epoch on a noisy hold-out of a tenth: rule ``validation``. Differs from their code in that
    phases ``stage`` and ``head`` replace no epoch of the others, the first is at most half of a short run, and where
    nearly nothing is confirmed everything is trained on. ``confirmed_share`` is that of the last epoch,
    ``estimated_noise_rate`` the rest. Memory: the network, Adam's state for its last layers, for a moment a second one.
    """

    capturable = False  # the confirmed set, and so last batches, change from epoch to epoch
    state = ("kept",)

    def __init__(
        self,
        task: Task,
        *,
        early_epochs: Annotated[Epochs, Field(ge=1)] = 25,
        stage_epochs: Annotated[Epochs, Field(ge=0)] = 7,
        head_epochs: Annotated[Epochs, Field(ge=0)] = 5,
        refine_rate: Annotated[float, Field(gt=0)] | None = None,
        refined: Literal["trained", "fixed"] = "trained",
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        self.early_epochs = min(early_epochs, int(task.training["epochs"]) // 2)
        self.stage_epochs, self.head_epochs, self.refined = stage_epochs, head_epochs, refined
        self.parts = self._parts()
        rate = scaled_rate(len(task.loader())) if refine_rate is None else refine_rate
        self.refiner = torch.optim.Adam(self.model.parameters(), lr=rate)
        task.drive(self.refiner)
        self.kept = torch.ones(len(task.index), dtype=torch.bool, device=task.device)
        self.weights = torch.ones(task.num_classes, device=task.device)
        self.phase_name = ""

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``early``, ``stage``, ``head``, ``confident``, without those of no epochs."""
        params, epochs = dict(training["schedule"]), int(training["epochs"])
        schedule = build_schedule(params.pop("name"), **params)
        first = self.early_epochs
        phases = [
            Phase("early", first, lambda position: schedule(position, epochs)),
            Phase("stage", self.stage_epochs if self.parts.stage else 0, lambda position: 1.0),
            Phase("head", self.head_epochs, lambda position: 1.0),
            Phase("confident", epochs - first, lambda position: schedule(first + position, epochs)),
        ]
        return [phase for phase in phases if phase.epochs]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """New latter layers to refine; a fresh optimiser for the last phase."""
        if phase.name in ("stage", "head"):
            self._renew(self._refined_in(phase.name))
            self.refiner.state.clear()
        elif phase.name == "confident":
            self.task.release([], [self.optimizer])
            self.optimizer = self.task.optimizer(self.model)

    def loader(self, phase: Phase) -> Loader:
        """The whole training part; what is fixed in this phase is fixed here, also on resume."""
        self.phase_name = phase.name
        trained = set(self._refined_in(phase.name))
        fixed = set(self.parts.stage + self.parts.head) if self._all_fixed(phase.name) else set()
        for name, module in self.model.named_modules():
            for weight in module.parameters(recurse=False):
                weight.requires_grad_(name in trained if trained else name not in fixed)
        return super().loader(phase)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass over everything, or over what the network confirms."""
        if self.phase_name != "confident":
            return super().train_epoch(epoch, loader)
        task = self.task
        labels = task.labels[task.index]
        kept = confirmed(self._probabilities(epoch), labels)
        self.kept = kept if int(kept.sum()) >= SMALLEST else torch.ones_like(kept)
        self.weights = class_weights(labels[self.kept], task.num_classes).float()
        index = task.index[self.kept]
        return super().train_epoch(epoch, task.loader(index, batch_size=min(loader.batch_size, len(index))))

    def step(self, batch: Batch) -> Tensor:
        """One step of the phase's optimiser."""
        task, images, labels = self.task, batch.images, batch.labels
        if self.phase_name == "confident":
            weights = balanced(self.weights, labels)
        else:
            weights = torch.ones(len(labels), device=task.device)
        optimizer = self.refiner if self.phase_name in ("stage", "head") else self.optimizer
        losses = functools.partial(losses_of, task, self.model, images, labels)
        return descend(optimizer, WeightedClosure(task, optimizer, losses, weights, []), images)

    def details(self) -> dict[str, float]:
        """``confirmed_share`` of the training part in the last epoch, ``estimated_noise_rate``."""
        share = float(self.kept.double().mean())
        return {"confirmed_share": share, "estimated_noise_rate": 1 - share}

    # -- parts ------------------------------------------------------------------------------------------------------

    def _parts(self) -> Parts:
        """Found once; refuses a network of one layer."""
        found: list[Parts] = []

        def look(images: Tensor) -> Tensor:
            with self.task.autocast():
                found.append(parts_of(self.model, images))
            return images.new_zeros(len(images))

        self.task.evaluate(look, self.task.images[:2])
        if not found[0].former:
            raise InputError("algorithm 'pes' needs a network with a hidden layer")
        return found[0]

    def _refined_in(self, phase: str) -> list[str]:
        return {"stage": self.parts.stage + self.parts.head, "head": self.parts.head}.get(phase, [])

    def _all_fixed(self, phase: str) -> bool:
        return phase == "confident" and self.refined == "fixed"

    def _renew(self, names: list[str]) -> None:
        """These modules as in a new network of the run."""
        fresh: nn.Module = self.task.model()
        for name in names:
            self.model.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        self.task.release([fresh], [])

    # -- what is confirmed ------------------------------------------------------------------------------------------

    def _probabilities(self, epoch: int) -> Tensor:
        """Mean softmax ``[n, K]`` of two augmented views of the training part, in eval mode."""
        task, parts = self.task, []
        views = 2 if task.training["augment"] else 1
        with task.eval_mode():
            for number, index in enumerate(task.index.split(250 if task.device.type == "cpu" else 2000)):  # type: ignore[no-untyped-call]  # torch's own
                loader = task.loader(index, views=views, batch_size=len(index))
                (batch,) = loader.epoch(derive(task.seed, "method", "pes views", epoch, number))
                images = [batch.images] if views == 1 else batch.images
                mean = torch.stack([softmax(task.forward(self.model, view), dim=1) for view in images]).mean(dim=0)
                parts.append(mean[batch.index.argsort()])
        return torch.cat(parts)
