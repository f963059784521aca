"""What a study will cost, before it is started: disk and hours, each with its basis."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from noisybench.data import DataFolder, Dataset, is_available, prepare, synthetic_like
from noisybench.models import build_model
from noisybench.spec import RunSpec, canonical_json
from noisybench.store import Store
from noisybench.train.record import SMALL_WEIGHTS
from noisybench.train.setup import load_subset

EFFICIENCY = 0.2
"""Assumed share of the measured matrix-multiply rate that training reaches where nothing was measured yet."""


@dataclass(frozen=True)
class Sizes:
    """What a cost depends on: images to train on and to test on, their shape, classes."""

    train: int
    test: int
    shape: tuple[int, int, int]
    classes: int


def sizes(spec: RunSpec, folder: DataFolder) -> Sizes:
    """Sizes of a run's data; where the data is not here yet, of synthetic data of its shape (nothing is downloaded)."""
    block = spec.data["dataset"]
    if is_available(block, folder):
        data = load_subset(spec.data, folder)
    else:
        data = _stand_in(canonical_json(block))
    held_out = round(block["validation"] * len(data.train_labels))
    return Sizes(len(data.train_labels) - held_out, len(data.test_labels), data.shape, data.num_classes)


@functools.lru_cache(maxsize=4)
def _stand_in(block: str) -> Dataset:
    return prepare(synthetic_like(json.loads(block)), DataFolder(Path(), None))


def disk_bytes(runs: Sequence[RunSpec], folder: DataFolder) -> int:
    """Bytes the runs leave: records and predictions, and weights below 16 MB (larger ones of one seed a cell)."""
    total, seen = 0, set()
    for spec in runs:
        size = sizes(spec, folder)
        weights = 4 * _parameters(spec.data["model"], size)
        cell = canonical_json({**spec.data, "seed": 0})
        if weights < SMALL_WEIGHTS or cell not in seen:
            total += weights
        seen.add(cell)
        total += 40_000 + size.train + size.test
    return total


def hours(runs: Sequence[RunSpec], folder: DataFolder, store: Store, device: str) -> tuple[float, str]:
    """Hours of one worker, and what the number rests on: the store's own records, or the hardware's rate."""
    measured = _measured_speed(store)
    seconds, guessed = 0.0, 0
    rate: float | None = None
    for spec in runs:
        size = sizes(spec, folder)
        training = spec.data["training"]
        key = _speed_key(spec.data)
        if key in measured:
            seconds += training["epochs"] * size.train / measured[key]
            continue
        guessed += 1
        rate = rate or EFFICIENCY * matmul_rate(device)
        passes = 2 if "base" in training["optimizer"] else 1
        evaluated = size.test + min(size.train, 5000)
        operations = 2 * multiply_adds(spec.data["model"], size)
        seconds += training["epochs"] * operations * (3 * passes * size.train + evaluated) / rate
    basis = "from this suite's own records"
    if guessed:
        basis = f"{guessed} of {len(runs)} runs guessed at {EFFICIENCY:.0%} of this device's matrix-multiply rate"
    return seconds / 3600, basis


def _speed_key(data: Mapping[str, Any]) -> str:
    return canonical_json([data["model"], data["dataset"], data["training"]["optimizer"]["name"]])


def _measured_speed(store: Store) -> dict[str, float]:
    speeds: dict[str, float] = {}
    for _, record, _ in store.records():
        if record is not None and record["provenance"].get("images_per_second"):
            total, train = (record["provenance"]["seconds"][key] for key in ("total", "train"))
            speed = record["provenance"]["images_per_second"] * train / max(total, 1e-9)
            speeds[_speed_key(record["result"]["spec"])] = speed
    return speeds


def _parameters(model: Mapping[str, Any], size: Sizes) -> int:
    return sum(p.numel() for p in _on_meta(model, size).parameters())


def _on_meta(model: Mapping[str, Any], size: Sizes) -> nn.Module:
    params = dict(model)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network: nn.Module = build_model(params.pop("name"), size.shape, size.classes, **params)
    return network


def multiply_adds(model: Mapping[str, Any], size: Sizes) -> int:
    """Multiply-adds of the convolution and linear layers for one image, counted on tensors without storage."""
    network, total = _on_meta(model, size).eval(), 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = next(module.parameters(recurse=False))  # [out, ...] of a Conv2d or Linear
        total += output.numel() * (weight.numel() // weight.shape[0])

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(1, *size.shape, device="meta"))
    return total


def matmul_rate(device: str) -> float:
    """Operations a second of a float32 1024 x 1024 product on one thread or one GPU, the best of three."""
    a = torch.rand(1024, 1024, device=device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = 1e9
    for _ in range(3):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # reading one entry waits for the device
        best = min(best, time.perf_counter() - start)
    torch.set_num_threads(threads)
    return float(2 * 1024**3 / best)
