"""How a run computes: chosen once, by a fixed rule and never by timing, at its first start."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from noisybench.errors import InputError
from noisybench.methods.task import Numerics
from noisybench.models import build_model

COMPILE_WORK = 2e14
"""Multiply-adds, of one image through the network times the gradients of single images that a run takes, from which
compiling pays on a CPU: it costs a minute the first time and gains a tenth (a quarter with AMX)."""


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
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {wanted}: no such kind of device; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {wanted}: this machine has no CUDA device that torch can use")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise InputError(f"--device {wanted}: the last CUDA device of this machine is cuda:{last}")
    return str(device)


@functools.lru_cache
def device_name(device: str) -> str:
    """The GPU's or the processor's name, for records."""
    if device.startswith("cuda"):
        try:
            return torch.cuda.get_device_name(device)
        except RuntimeError:  # one that broke while a worker had it
            return device
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def choose_numerics(
    training: Mapping[str, Any],
    model: Mapping[str, Any],
    shape: tuple[int, int, int],
    classes: int,
    device: str,
    threads: int,
    *,
    images: int = 0,
    static: bool = True,
) -> Numerics:
    """The numerics of a run from its training and model blocks; ``images`` it trains on in an epoch, ``static``: its
    steps have static shapes.

    precision auto: bf16 where the hardware is fast at it and the network has convolutions (a small dense network
    spends its time on casts), else fp32. channels-last: with convolutions. compile auto: on a CPU, where a C++
    compiler is at hand, steps are static and the work ahead is at least ``COMPILE_WORK``; elsewhere off. ``on``
    compiles whatever the work; InputError where that cannot be. Steps are captured as CUDA graphs on a GPU, where they
    are static and the session does not forbid it (``NOISYBENCH_GRAPHS=off``).
    """
    params = dict(model)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build_model(str(params.pop("name")), shape, classes, **params)
    convolutional = any(isinstance(module, nn.Conv2d) for module in network.modules())
    precision = str(training["precision"])
    if precision == "auto":
        precision = "bf16" if convolutional and bf16_is_fast(torch.device(device)) else "fp32"
    if training["compile"] == "auto":
        work = gradient_images(training, images) * multiply_adds(network, shape)
        compiling = static and device == "cpu" and work >= COMPILE_WORK and why_not_compile(training, device) is None
    else:
        compiling = training["compile"] == "on"
        reason = why_not_compile(training, device) if compiling else None
        if reason is not None:
            raise InputError(f"training.compile: on cannot be had: {reason}; set it to auto or off")
    capture = static and may_capture(device)
    return Numerics(device, precision, compiling, threads, convolutional, capture=capture)


# -- CUDA -----------------------------------------------------------------------------------------------------------

GRAPHS = "NOISYBENCH_GRAPHS"
"""Environment variable; ``off`` keeps a session from capturing."""


def may_capture(device: str) -> bool:
    """True on CUDA devices, unless the environment says ``NOISYBENCH_GRAPHS=off``."""
    return device.startswith("cuda") and os.environ.get(GRAPHS, "").lower() not in ("off", "0", "no", "false")


def settle_cuda(device: str) -> None:
    """Set what torch decides by process for CUDA; nothing on a CPU.

    No TF32: ``precision: fp32`` means float32, in convolutions too, where torch's default is TF32. cuDNN times its
    kernels for each shape (``benchmark``) and may take ones that add in any order: batches have few shapes, and on a
    GPU equality is statistical anyway.
    """
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False


def cuda_settings(device: str) -> dict[str, Any] | None:
    """What holds on a GPU, for records; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    return {
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # torch's own
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
    }


# -- compilation ----------------------------------------------------------------------------------------------------


def gradient_images(training: Mapping[str, Any], images: int) -> int:
    """Gradients of single images that a run of one network on ``images`` takes; a wrapper such as SAM takes two."""
    passes = 2 if "base" in training["optimizer"] else 1
    return int(training["epochs"]) * images * passes


def multiply_adds(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of the convolution and linear layers for one image; ``network`` has no storage (meta)."""
    products = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal products
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        products += output.numel() * (weight.numel() // weight.shape[0])  # weight: [out, ...]

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        network.eval()(torch.empty(1, *shape, device="meta"))
    for handle in handles:
        handle.remove()
    return products


def why_not_compile(training: Mapping[str, Any], device: str) -> str | None:
    """Why ``torch.compile`` cannot be used here, or None where it can."""
    if training["optimizer"].get("second_order"):
        return "the optimiser's second-order term needs second derivatives, which compiled networks do not have"
    if device != "cpu":
        return None if importlib.util.find_spec("triton") else "Triton, which it needs on a GPU, is not installed"
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        get_cpp_compiler()
    except Exception as error:  # no compiler, or a torch without its own
        return f"it needs a C++ compiler on a CPU ({type(error).__name__}); install g++ or clang++"
    return None
