"""Networks, one family a file.

A network is built from ``(shape, num_classes)``, shape = (channels, height, width), and maps normalised images
``[B, C, H, W]`` to logits ``[B, K]``. It draws its initial weights from torch's global generator: the caller seeds it,
inside ``torch.random.fork_rng``.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from noisybench import registry
from noisybench.errors import ParameterError


def build_model(name: str, shape: tuple[int, int, int], num_classes: int, **params: Any) -> nn.Module:
    """The network ``name`` for images of ``shape`` (C, H, W) and ``num_classes`` classes.

    Raises UnknownName, or ParameterError if a parameter or the image size does not suit the network.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ParameterError(f"images must be (channels, height, width), each at least 1, not {tuple(shape)}")
    if num_classes < 2:
        raise ParameterError(f"a classifier needs at least 2 classes, not {num_classes}")
    model: nn.Module = registry.get("model", name).build(tuple(shape), num_classes, **params)
    return model
