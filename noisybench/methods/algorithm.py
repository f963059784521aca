"""The contract every method fulfils (design 4.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from noisybench.data.loader import Batch, Loader
from noisybench.methods.task import Task


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with its own learning-rate rule.

    ``factor`` maps the position inside the phase, in completed epochs (a fraction inside an epoch), to the factor on
    the base learning rate; None means the suite's schedule, spread over this phase.
    """

    name: str
    epochs: int
    factor: Callable[[float], float] | None = None


@dataclass(frozen=True)
class Suspicion:
    """A method's ranking of the labels it was trained on: ``scores`` ``[n]`` in the order of ``task.index``, larger for
    a label more likely wrong; ``rate``: the share of wrong labels it estimates, if it does."""

    scores: Tensor
    rate: float | None = None


class Algorithm:
    """One method. Subclass, register with ``@algorithm(name)``, write ``step``; override the rest where needed.

    Networks and optimisers made by ``task`` and kept in attributes (also in lists, also when made in a later phase)
    are saved and restored by themselves; ``state`` names the other attributes (tensors and plain values) to keep.
    Attributes may be re-made in ``begin_phase``, which is called once, when its phase really starts: never on resume.
    """

    capturable = True
    """The step has static shapes and no draws of torch's own, so it may be captured as a CUDA graph: it writes tensors
    in place, and what is drawn for it comes in through ``step_inputs``."""
    steady = False
    """The step is the same in every epoch; otherwise what it reads may change between epochs, and only there."""
    state: tuple[str, ...] = ()
    in_memory: tuple[str, ...] = ()
    """Those of ``state`` that are tensors in the computer's memory whatever the device; the rest is on the device."""
    answers_with_networks = True
    """False where ``predict`` needs what was fitted at the end: stored networks alone do not answer as the run did."""

    model: nn.Module
    """The network ``predict`` uses unless it is overridden."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """The phases of a run; the trainer counts epochs through all of them. Selection rules look at the last."""
        return [Phase("train", int(training["epochs"]))]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Called before the first epoch of each phase."""

    def loader(self, phase: Phase) -> Loader:
        """The loader of a phase, handed to ``train_epoch``; default: the training part with its noisy labels."""
        return self.task.loader()

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Called by ``train_epoch`` before its first step."""

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; returns the mean training loss as a scalar left on the device."""
        self.begin_epoch(epoch, loader)
        total, images = torch.zeros((), device=self.task.device), 0
        with self.task.steps(self, loader.batch_size) as step:
            for batch in self.task.batches(loader, epoch):
                total += step(replace(batch, inputs=self.step_inputs(batch))) * len(batch.index)
                images += len(batch.index)
        return total / images

    def step_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Tensors on the device that ``step`` needs beside the batch, drawn for it; it finds them in its ``inputs``."""
        return ()

    def step(self, batch: Batch) -> Tensor:
        """One update from ``index [B], images [B, C, H, W], labels [B]``; its mean loss, detached, on the device."""
        raise TypeError(f"{type(self).__name__} defines neither step nor train_epoch")

    def finish(self) -> None:
        """Called once, after the last epoch and before its evaluation."""

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``[B, K]`` of normalised images; default: of ``self.model``. Networks are in eval mode."""
        return self.task.forward(self.model, images)

    def details(self) -> dict[str, float]:
        """Numbers for the record beside the accuracies, for example ``estimated_noise_rate``. Called after the end."""
        return {}

    def suspicion(self) -> Mapping[str, Suspicion]:
        """How the method itself ranks the labels, by name; called after the end under ``training.detection``."""
        return {}

    # -- saving -----------------------------------------------------------------------------------------------------

    def _owned(self) -> Iterator[tuple[str, Any]]:
        """``("name" or "name.3", object)`` for every attribute or list item that is a network or an optimiser."""
        for name, value in sorted(vars(self).items()):
            items = [(f"{name}.{i}", v) for i, v in enumerate(value)] if isinstance(value, list) else [(name, value)]
            yield from ((key, v) for key, v in items if isinstance(v, (nn.Module, torch.optim.Optimizer)))

    def named_networks(self) -> dict[str, nn.Module]:
        """The networks that are saved, by attribute (``model``, ``networks.1``)."""
        return {key: value for key, value in self._owned() if isinstance(value, nn.Module)}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only: networks, optimisers (and which networks they drive), ``state``."""
        owned = dict(self._owned())
        names = {id(value): key for key, value in owned.items()}
        drives = {
            id(optimizer): [names[id(model)] for model in models if id(model) in names]
            for optimizer, models in zip(self.task.optimizers, self.task.optimizer_models, strict=True)
        }
        return {
            "models": {k: v.state_dict() for k, v in owned.items() if isinstance(v, nn.Module)},
            "modes": {k: v.training for k, v in owned.items() if isinstance(v, nn.Module)},
            "optimizers": {k: v.state_dict() for k, v in owned.items() if isinstance(v, torch.optim.Optimizer)},
            "drives": {k: drives[id(v)] for k, v in owned.items() if isinstance(v, torch.optim.Optimizer)},
            "made": self.task.models_made,
            "values": {name: getattr(self, name) for name in self.state},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Back to a saved state; what a later phase had made is made again, with its architecture, then filled."""
        owned = dict(self._owned())
        for key, saved in state["models"].items():
            if key not in owned:
                self._place(key, self.task.model())
            model = dict(self._owned())[key]
            model.load_state_dict(saved)
            model.train(state["modes"][key])
        owned = dict(self._owned())
        for key, saved in state["optimizers"].items():
            if key not in owned:
                self._place(key, self.task.optimizer(*(owned[name] for name in state["drives"][key])))
            dict(self._owned())[key].load_state_dict(saved)
        for name, value in state["values"].items():
            setattr(self, name, value.cpu() if name in self.in_memory else value)
        self.task.models_made = state["made"]

    def _place(self, key: str, value: Any) -> None:
        name, _, number = key.partition(".")
        if not number:
            setattr(self, name, value)
            return
        items = getattr(self, name, None)
        items = items if isinstance(items, list) else []
        items.append(value)  # keys are sorted, so items come in order
        setattr(self, name, items)
