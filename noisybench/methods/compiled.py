"""``torch.compile`` for the passes that training consists of."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Compiled = Callable[[Tensor], Tensor]


def compiled(
    model: nn.Module, images: Tensor, precision: Callable[[], contextlib.AbstractContextManager[object]]
) -> Compiled:
    """``model`` compiled for batches like ``images`` in train mode with gradients; the network itself stays as it is.

    Forward and backward are tried on a copy first: whatever the compiler raises, it raises here, before a step was
    taken. torch keeps compiled code by the shapes of network and batch for the life of the process and on disk, so
    that the next network of the shape costs this process one step.
    """
    trial = copy.deepcopy(model).train()
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        with precision():
            logits = torch.compile(trial, dynamic=False)(images)
        logits.float().sum().backward()
    network: Compiled = torch.compile(model, dynamic=False)
    return network
