"""What the networks share: 3x3 convolutions, global pooling, the check of the image size."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from noisybench.errors import ParameterError


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size (halves it, rounding up, at stride 2); no bias."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


def global_average(features: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C]. A plain mean: its backward pass is deterministic on every device."""
    return features.mean(dim=(2, 3))


def require_size(name: str, shape: tuple[int, int, int], smallest: int) -> None:
    """ParameterError when the images are smaller than the network can halve."""
    if min(shape[1:]) < smallest:
        raise ParameterError(
            f"model '{name}' needs images of at least {smallest}x{smallest} pixels, not {shape[1]}x{shape[2]}"
        )


def kaiming(network: nn.Module, mode: Literal["fan_in", "fan_out"]) -> None:
    """Convolutions from a normal distribution with variance 2 / fan (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
