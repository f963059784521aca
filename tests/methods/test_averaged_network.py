"""Averages of parameters by hand, and batch-norm statistics of a network that never trained with them."""

from __future__ import annotations

import copy

import pytest
import torch
from small_runs import SMALL
from torch import nn

from noisybench.data.augment import normalise
from noisybench.methods.averaged_network import average_decay, recompute_statistics, update_average
from noisybench.methods.task import Numerics, Task


def test_the_decay_rises_to_its_value():
    assert [average_decay(n, 0.9999) for n in (1, 2, 10)] == pytest.approx([2 / 11, 3 / 12, 11 / 20])
    assert average_decay(10**6, 0.9999) == 0.9999
    assert average_decay(1, 0.0) == 0.0


def test_an_average_by_hand():
    average, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(1.0)
        network.weight.fill_(3.0)
    update_average(average, network, 0.75)
    assert average.weight.item() == pytest.approx(1.5)
    assert network.weight.item() == 3.0
    assert average.weight.requires_grad


def task_of(batch_size, count=64):
    spec = copy.deepcopy(SMALL)
    spec["training"]["batch_size"] = batch_size
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    index = torch.arange(count)
    return Task(
        spec,
        images=images,
        labels=index % 10,
        index=index[: count // 2],
        holdout=index[count // 2 :],
        num_classes=10,
        mean=[0.5],
        std=[0.25],
        numerics=Numerics("cpu", "fp32", False, 1, False),
        oracle=lambda: pytest.fail("nobody may ask"),
    )


@pytest.mark.parametrize("batch_size", [32, 8])
def test_statistics_are_those_of_the_training_part(batch_size):
    task = task_of(batch_size)
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1, momentum=0.1), nn.Flatten(), nn.Linear(64, 10))
    task.models.append(network)
    with torch.no_grad():
        network[1].running_mean.fill_(100.0)
    weights = network[3].weight.clone()
    recompute_statistics(task, network, epoch=3)
    x = normalise(task.images[task.index], task.mean, task.std, torch.float32)
    assert network[1].running_mean.item() == pytest.approx(x.mean().item(), abs=1e-5)
    assert network[1].running_var.item() == pytest.approx(x.var().item(), rel=0.02)
    assert network[1].momentum == 0.1
    assert all(module.training for module in network.modules())
    assert torch.equal(weights, network[3].weight)


def test_a_network_without_batch_norm_is_left_alone():
    task = task_of(32)
    network = nn.Linear(1, 1)
    recompute_statistics(task, network, epoch=0)  # would fail on images of 8 x 8
