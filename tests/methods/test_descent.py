"""One step on weighted losses, whatever the optimiser."""

from __future__ import annotations

import types

import pytest
import torch

from noisybench.methods.descent import WeightedClosure, descend
from noisybench.optim import build_optimizer

OPTIMIZERS = {
    "sgd": {"name": "sgd", "lr": 0.1},
    "adam": {"name": "adam", "lr": 0.01},
    "sam": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}},
    "sam of the second order": {"name": "sam", "rho": 0.1, "second_order": True, "base": {"name": "sgd", "lr": 0.1}},
    "sam with micro-batches": {"name": "sam", "rho": 0.1, "m": 2, "base": {"name": "sgd", "lr": 0.1}},
    "esam": {"name": "esam", "rho": 0.1, "beta": 1.0, "gamma": 1.0, "base": {"name": "sgd", "lr": 0.1}},
}


class Counter:
    """Stands in for a task: counts."""

    gradients = 0

    def count_gradients(self, images):
        self.gradients += images


def stepped(options, weights, ready, rows=slice(None)):
    """The network after one step on eight fixed images with these weights, and what was counted."""
    torch.manual_seed(0)
    network, images, labels = torch.nn.Linear(5, 3), torch.randn(8, 5), torch.arange(8) % 3
    images, labels = images[rows], labels[rows]

    def losses(rows=None):
        x, y = (images, labels) if rows is None else (images[rows], labels[rows])
        return torch.nn.functional.cross_entropy(network(x), y, reduction="none")

    optimizer, task = build_optimizer(model=network, **options), Counter()
    closure = WeightedClosure(task, optimizer, losses, weights, [losses()] if ready else [])
    loss = descend(optimizer, closure, images)
    return types.SimpleNamespace(weight=network.weight.detach(), loss=loss, gradients=task.gradients)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_of_zero_leave_images_out_and_computed_losses_change_nothing(name):
    mask = torch.tensor([1.0, 1, 0, 1, 0, 0, 1, 0])
    alone = stepped(OPTIMIZERS[name] | ({"m": 4} if "m" in OPTIMIZERS[name] else {}), torch.ones(4), False, mask == 1)
    weighted = stepped(OPTIMIZERS[name] | ({"m": 8} if "m" in OPTIMIZERS[name] else {}), 2 * mask, False)
    ready = stepped(OPTIMIZERS[name] | ({"m": 8} if "m" in OPTIMIZERS[name] else {}), 2 * mask, True)
    assert torch.allclose(weighted.weight, alone.weight, atol=1e-6)
    assert torch.allclose(ready.weight, alone.weight, atol=1e-6)
    assert ready.loss == pytest.approx(float(alone.loss), rel=1e-6)
    assert not ready.loss.requires_grad


def test_gradients_are_counted_pass_by_pass():
    assert stepped(OPTIMIZERS["sgd"], torch.ones(8), True).gradients == 8
    assert stepped(OPTIMIZERS["sam"], torch.ones(8), True).gradients == 16
    assert stepped(OPTIMIZERS["sam with micro-batches"], torch.ones(8), False).gradients == 16


def test_micro_batches_share_the_weights_of_their_batch():
    weights = torch.tensor([2.0, 2, 2, 0, 2, 0, 0, 0])
    plain = {"name": "sam", "rho": 0.0, "base": {"name": "sgd", "lr": 0.1}}
    parts = stepped(plain | {"m": 2}, weights, False)  # at rho 0 every m is the whole batch
    assert torch.allclose(parts.weight, stepped(plain, weights, False).weight, atol=1e-6)
