"""What runs will cost, before they are started: operations, disk and hours, each with its basis."""

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

from noisybench.data import DataFolder, Dataset, is_available, prepare
from noisybench.models import build_model
from noisybench.spec import RunSpec, canonical_json
from noisybench.store import Store
from noisybench.suite.stand_in import synthetic_like
from noisybench.train import numerics
from noisybench.train.kept import load_subset
from noisybench.train.numerics import choose_device
from noisybench.train.record import SMALL_WEIGHTS

EFFICIENCY = 0.2
"""Assumed share of the measured matrix-multiply rate that training reaches where nothing was measured yet."""

UNKNOWN = (11_173_962, 555_422_720, 1_417_226, 65_536)
"""What a network that cannot be measured is taken for: a ResNet-18 on 32 x 32 images."""


@dataclass(frozen=True)
class Sizes:
    """What a cost depends on: images to train on and to test on, their shape, classes, and images held out."""

    train: int
    test: int
    shape: tuple[int, int, int]
    classes: int
    held_out: int = 0


@dataclass(frozen=True)
class Work:
    """What a run computes. Of one network: ``parameters``, and for one image ``multiply_adds``, ``activations`` (the
    outputs of all layers) and ``largest_activation``. Of the run: floating-point ``operations`` and those of one
    training step, ``networks`` and ``views`` of an image that are trained at a time."""

    parameters: int
    multiply_adds: int
    activations: int
    largest_activation: int
    batch_size: int
    networks: int
    views: int
    operations: float
    step_operations: float


def work_of(data: Mapping[str, Any], size: Sizes) -> Work:
    """The work of a run's spec. Algorithms but ``erm`` are taken to train two networks on two views, as most do."""
    training, simple = data["training"], data["method"]["algorithm"]["name"] == "erm"
    networks = 1 if simple else 2
    network = _measured(canonical_json(data["model"]), size.shape, size.classes)
    passes = 2 if "base" in training["optimizer"] else 1
    forward = 2.0 * networks * network[1]
    evaluated = size.test + min(size.train, 5000)
    operations = training["epochs"] * forward * (3 * passes * size.train + evaluated)
    step = 3 * passes * forward * training["batch_size"]
    return Work(*network, training["batch_size"], networks, 1 if simple else 2, operations, step)


def sizes(spec: RunSpec, folder: DataFolder) -> Sizes:
    """Sizes of a run's data; where the data is not here yet, of synthetic data of its shape (nothing is downloaded)."""
    block = spec.data["dataset"]
    if is_available(block, folder):
        data = load_subset(spec.data, folder)
    else:
        data = _stand_in(canonical_json(block))
    held_out = round(block["validation"] * len(data.train_labels))
    return Sizes(len(data.train_labels) - held_out, len(data.test_labels), data.shape, data.num_classes, held_out)


def sizes_of(runs: Sequence[RunSpec], folder: DataFolder) -> list[Sizes]:
    """``sizes`` of each run, every data set looked at once."""
    known: dict[str, Sizes] = {}
    out = []
    for spec in runs:
        key = canonical_json(spec.data["dataset"])
        if key not in known:
            known[key] = sizes(spec, folder)
        out.append(known[key])
    return out


@functools.lru_cache(maxsize=4)
def _stand_in(block: str) -> Dataset:
    return prepare(synthetic_like(json.loads(block)), DataFolder(Path(), None))


def disk_bytes(runs: Sequence[RunSpec], folder: DataFolder) -> int:
    """Bytes the runs leave: records and predictions, and weights below 16 MB (larger ones of one seed a cell)."""
    total, seen = 0, set()
    for spec, size in zip(runs, sizes_of(runs, folder), strict=True):
        weights = 4 * work_of(spec.data, size).parameters
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
    for spec, size in zip(runs, sizes_of(runs, folder), strict=True):
        key = _speed_key(spec.data)
        if key in measured:
            seconds += spec.data["training"]["epochs"] * size.train / measured[key]
            continue
        guessed += 1
        rate = rate or EFFICIENCY * matmul_rate(device)
        seconds += work_of(spec.data, size).operations / rate
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


def multiply_adds(model: Mapping[str, Any], size: Sizes) -> int:
    """Multiply-adds of the convolution and linear layers for one image, counted on tensors without storage."""
    return _measured(canonical_json(model), size.shape, size.classes)[1]


@functools.lru_cache(maxsize=256)
def _measured(model: str, shape: tuple[int, int, int], classes: int) -> tuple[int, int, int, int]:
    """Parameters of a network, and multiply-adds, outputs of all layers and the largest of them for one image, counted
    on tensors without storage. UNKNOWN where that cannot be done."""
    try:
        return _count(json.loads(model), shape, classes)
    except Exception:  # a plug-in's network may do anything; its run will say what is wrong, if anything is
        return UNKNOWN


def _count(params: dict[str, Any], shape: tuple[int, int, int], classes: int) -> tuple[int, int, int, int]:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network: nn.Module = build_model(params.pop("name"), shape, classes, **params).eval()
    products, outputs = numerics.multiply_adds(network, shape), [0]

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            outputs.append(output.numel())

    for module in network.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(1, *shape, device="meta"))
    return sum(p.numel() for p in network.parameters()), products, sum(outputs), max(outputs)


def matmul_rate(device: str) -> float:
    """Operations a second of a float32 1024 x 1024 product on one thread or one GPU, the best of three."""
    device = choose_device(device)  # "auto", where another machine will choose, is what this one has
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
