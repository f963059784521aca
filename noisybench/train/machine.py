"""On what a run was trained: host, processor, versions, commit; what bitwise equality depends on."""

from __future__ import annotations

import datetime
import functools
import platform
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import noisybench
from noisybench.train.numerics import device_name


def now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def out_of_memory(error: BaseException) -> bool:
    """Memory ran out, the computer's or the GPU's. Python, torch, CUDA and its libraries each say so in their way."""
    words = ("allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)


def environment(device: str) -> dict[str, str]:
    """What must stay the same for bitwise equality: versions and processor."""
    return {**_versions(), "device": device_name(device)}


def describe(device: str) -> dict[str, Any]:
    """The part of a record's provenance that names the machine."""
    return {
        "host": socket.gethostname(),
        "device": device,
        "device_name": device_name(device),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }


def _versions() -> dict[str, str]:
    return {
        "noisybench": noisybench.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


@functools.lru_cache
def _git_commit() -> str | None:
    """The commit of the checkout this package runs from, or None when it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
