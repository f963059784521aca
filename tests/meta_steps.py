"""Steps of MW-Net and CMW-Net on the networks, batches and draws of a reference file, in double precision."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_runs import SMALL

from noisybench import registry
from noisybench.data.loader import Batch
from noisybench.methods.task import Numerics, Oracle, Task


def task_of(
    algorithm: dict[str, Any], *, classes: int = 4, count: int = 200, model: str = "small_cnn", width: int = 2
) -> Task:
    """A task of 4 x 4 images in classes 0, 1, ...; every label of the first half is wrong."""
    spec: Any = copy.deepcopy(SMALL)
    spec["model"], spec["method"]["algorithm"] = {"name": model, "width": width}, algorithm
    clean = torch.arange(count) % classes
    labels = torch.where(torch.arange(count) < count // 2, (clean + 1) % classes, clean)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Task(
        spec,
        images=images,
        labels=labels,
        index=torch.arange(count - count // 10),
        holdout=torch.arange(count - count // 10, count),
        num_classes=classes,
        mean=[0.5],
        std=[0.25],
        numerics=Numerics("cpu", "fp32", False, 1, False),
        oracle=lambda: Oracle(0.5, clean),
    )


def build(algorithm: dict[str, Any], **sizes: Any) -> Any:
    """The algorithm on such a task."""
    params = dict(algorithm)
    return registry.get("algorithm", params.pop("name")).build(task_of(algorithm, **sizes), **params)


def doubled(case: dict[str, Any], algorithm: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The algorithm with the networks and the optimiser of ``case``, in float64."""
    method = build(algorithm)
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    method.model.double()
    method.weigher.double()
    fill(method.model, case["network"])
    fill(method.weigher, case["weigher"])
    for group in method.optimizer.param_groups:
        group.update(lr=case["learning_rate"], momentum=case["momentum"], weight_decay=case["weight_decay"])
    method.warming, method.turn = False, 0
    method.weight_sum = method.weight_sum.double()
    return method


def fill(network: torch.nn.Module, state: dict[str, Any]) -> None:
    """Put values into a network; whatever the authors' layers do not keep stays."""
    missing = network.load_state_dict({key: tensor(value) for key, value in state.items()}, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)


def same(network: torch.nn.Module, state: dict[str, Any]) -> None:
    """Parameters and buffers are those of ``state``."""
    mine = network.state_dict()
    for key, value in state.items():
        torch.testing.assert_close(mine[key], tensor(value), rtol=1e-9, atol=1e-11)


def batch_of(saved: dict[str, Any]) -> Batch:
    """A saved batch."""
    labels = torch.tensor(saved["labels"])
    return Batch(torch.arange(len(labels)), tensor(saved["images"]), labels)


def tensor(values: Any) -> torch.Tensor:
    """In double precision."""
    return torch.tensor(values, dtype=torch.float64)


def take_turns(case: dict[str, Any], method: Any, prepare: Any = lambda step: None) -> None:
    """Every step of ``case`` leaves networks, statistics and the weight network's gradient as the authors' does."""
    method.meta_batches = iter([batch_of(saved) for saved in case["meta"]])
    for saved, step in zip(case["batches"], case["steps"], strict=True):
        prepare(step)
        method.turn = 0
        method.step(batch_of(saved))
        for parameter, gradient in zip(method.weigher.parameters(), step["gradient"], strict=True):
            torch.testing.assert_close(parameter.grad, tensor(gradient), rtol=1e-9, atol=1e-13)
        same(method.weigher, step["weigher"])
        same(method.model, step["network"])
