"""Averages of the weights, for any method: ``method.averaging``. The method trains on and never sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from noisybench.methods.algorithm import Algorithm
from noisybench.methods.averaged_network import average_decay, recompute_statistics
from noisybench.methods.task import Task
from noisybench.optim.passes import copies, norms_with_statistics, restored, still_statistics

STATISTICS = 5000
"""Training images that batch-norm statistics are recomputed from at every epoch; after the last, all of them."""


@dataclass
class Average:
    """The average of one network's parameters and how often it was updated."""

    network: nn.Module
    weights: list[Tensor]
    updates: int = 0


class Averaging:
    """Averages every network that an optimiser of the task drives, and lends them to evaluation.

    ``ema``: after every optimiser step, ``a <- d a + (1 - d) w`` with d = min(decay, (1 + n) / (10 + n)) at the n-th
    update, so that short runs forget their start (TensorFlow). ``swa`` (Izmailov et al. 2018): the plain mean of the
    weights at epoch ends; the schedule stays the suite's (the authors use a constant or cyclic one). Both begin after
    the share ``start`` of the last phase; until then, and in earlier phases, the networks are evaluated as they are.

    The method trains on with its own weights, and whatever it measures in between (losses, splits) are theirs. Every
    evaluation sees the averages, with batch-norm statistics recomputed for them from training images without
    augmentation: 5,000 each epoch, all after the last, a forward pass each (some 3 % of the time of an epoch on
    CIFAR-10; nothing without batch norm). After the last epoch the networks become their averages: a method's
    ``finish``, predictions, the saved weights and relabelling use these. Memory: the parameters once, during
    evaluation twice.
    """

    def __init__(self, task: Task, block: Mapping[str, Any] | None) -> None:
        self.task, self.block = task, block
        self.averages: list[Average] = []
        self.active = self.settled = False
        if block is not None and block["kind"] == "ema":
            task.after_step = self.after_step

    def begin_epoch(self, within: int | None, epochs: int) -> None:
        """``within``: the epoch's number inside the last phase of ``epochs``; None in an earlier phase."""
        self.active = self.block is not None and within is not None and within >= int(self.block["start"] * epochs)

    @torch.no_grad()
    def after_step(self, networks: Sequence[nn.Module]) -> None:
        """An optimiser has moved these networks (ema)."""
        if not self.active or self.block is None:
            return
        for network in networks:
            average = self._average(network)
            if average.updates:
                weight = 1 - average_decay(average.updates, self.block["decay"])
                torch._foreach_lerp_(average.weights, list(network.parameters()), weight)
            average.updates += 1

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Take the weights in (swa); forget networks that the method has released."""
        alive = [network for networks in self.task.optimizer_models for network in networks]
        self.averages = [a for a in self.averages if any(a.network is network for network in alive)]
        if not self.active or self.block is None or self.block["kind"] != "swa":
            return
        for network in alive:
            average = self._average(network)
            if average.updates:
                torch._foreach_lerp_(average.weights, list(network.parameters()), 1 / (average.updates + 1))
            average.updates += 1

    @contextlib.contextmanager
    def lent(self, epoch: int, index: Tensor) -> Iterator[None]:
        """Inside, the networks are their averages, with statistics from up to 5,000 of the training images ``index``;
        afterwards they are what they were, exactly."""
        networks = [average.network for average in self.averages]
        weights = [weight for network in networks for weight in network.parameters()]
        with restored(weights), still_statistics(norms_with_statistics(networks)):
            self._put_in(epoch, index[:: -(-len(index) // STATISTICS)])
            yield

    def settle(self, epoch: int, index: Tensor) -> None:
        """After the last epoch: the networks become their averages, with statistics from all of ``index``."""
        self._put_in(epoch, index)
        self.averages, self.settled = [], True

    def state_dict(self, algorithm: Algorithm) -> dict[str, Any]:
        """For a checkpoint: averages under the names that the method has for its networks."""
        names = {id(network): name for name, network in algorithm.named_networks().items()}
        averages = {names[id(a.network)]: {"weights": a.weights, "updates": a.updates} for a in self.averages}
        return {"averages": averages, "settled": self.settled}

    def load_state_dict(self, state: Mapping[str, Any], algorithm: Algorithm) -> None:
        """Back to a saved state; the networks are there again already."""
        networks = algorithm.named_networks()
        saved = state["averages"].items()
        self.averages = [Average(networks[name], list(kept["weights"]), kept["updates"]) for name, kept in saved]
        self.settled = state["settled"]

    def _average(self, network: nn.Module) -> Average:
        for average in self.averages:
            if average.network is network:
                return average
        self.averages.append(Average(network, copies([weight.detach() for weight in network.parameters()])))
        return self.averages[-1]

    @torch.no_grad()
    def _put_in(self, epoch: int, index: Tensor) -> None:
        for average in self.averages:
            torch._foreach_copy_(list(average.network.parameters()), average.weights)
            recompute_statistics(self.task, average.network, epoch, index)
