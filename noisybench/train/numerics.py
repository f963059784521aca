"""How a run computes: chosen once, by a fixed rule and never by timing, at its first start."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
from torch import nn

from noisybench.errors import InputError
from noisybench.methods.task import Numerics
from noisybench.models import build_model


def bf16_is_fast(device: torch.device) -> bool:
    """True where bf16 products have hardware of their own: CUDA from capability 8.0, CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check() for check in checks if check is not None)


def choose_device(wanted: str) -> str:
    """``auto`` is the first CUDA device where there is one, else the CPU."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"--device {wanted}: no such kind of device; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {wanted}: this machine has no CUDA device that torch can use")
    return str(device)


@functools.lru_cache
def device_name(device: str) -> str:
    """The GPU's or the processor's name, for records."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def choose_numerics(
    training: dict[str, object],
    model: dict[str, object],
    shape: tuple[int, int, int],
    classes: int,
    device: str,
    threads: int,
) -> Numerics:
    """The numerics of a run from its training and model blocks.

    precision auto: bf16 where the hardware is fast at it and the network has convolutions (a small dense network
    spends its time on casts), else fp32. compile auto: off (``on`` is the user's to say). channels-last: with
    convolutions.
    """
    params = dict(model)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build_model(str(params.pop("name")), shape, classes, **params)
    convolutional = any(isinstance(module, nn.Conv2d) for module in network.modules())
    precision = str(training["precision"])
    if precision == "auto":
        precision = "bf16" if convolutional and bf16_is_fast(torch.device(device)) else "fp32"
    return Numerics(device, precision, training["compile"] == "on", threads, convolutional)
