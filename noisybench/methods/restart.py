"""Training that starts anew with the same network and optimiser objects."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def weights_of(network: nn.Module) -> Weights:
    """A copy of a network's weights and buffers."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@dataclass(frozen=True)
class Start:
    """A network's initial weights and its optimiser's empty state. Memory: one copy of the weights."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    weights: Weights
    empty: dict[str, Any]

    @classmethod
    def of(cls, network: nn.Module, optimizer: torch.optim.Optimizer) -> Start:
        """Of a network and an optimiser that were just made."""
        return cls(network, optimizer, weights_of(network), copy.deepcopy(optimizer.state_dict()))

    def restore(self, weights: Weights | None = None) -> None:
        """Back to the initial weights, or to these, with an optimiser that has seen nothing."""
        self.network.load_state_dict(self.weights if weights is None else weights)
        self.optimizer.load_state_dict(copy.deepcopy(self.empty))
