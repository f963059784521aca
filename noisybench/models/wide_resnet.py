"""Wide residual networks (Zagoruyko & Komodakis)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from noisybench.errors import ParameterError
from noisybench.models.layers import conv3x3, global_average, kaiming, require_size
from noisybench.registry import model


class WideBlock(nn.Module):
    """conv(dropout(relu(bn(conv(a))))) + shortcut, a = relu(bn(x)); the shortcut is x, or a 1x1 convolution of a."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: float) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3x3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3x3(outputs, outputs)
        self.shortcut: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs, H / stride, W / stride]."""
        active = relu(self.bn1(x))
        hidden = relu(self.bn2(self.conv1(active)))
        if self.drop:
            hidden = dropout(hidden, self.drop, self.training)
        residual: Tensor = self.conv2(hidden)
        return residual + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """conv 16, three stages of n pre-activation blocks, batch norm, ReLU, global average, linear."""

    def __init__(self, channels: int, num_classes: int, blocks: int, widen: int, drop: float) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, 16)
        stages, inputs = [], 16
        for number, outputs in enumerate((16 * widen, 32 * widen, 64 * widen)):
            first = WideBlock(inputs, outputs, 1 if number == 0 else 2, drop)
            stages.append(nn.Sequential(first, *(WideBlock(outputs, outputs, 1, drop) for _ in range(blocks - 1))))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, num_classes)
        kaiming(self, "fan_out")
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        x = relu(self.bn(self.stages(self.conv1(x))))
        logits: Tensor = self.head(global_average(x))
        return logits


@model("wrn")
def wrn(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: Annotated[int, Field(ge=10)] = 28,
    widen: Annotated[int, Field(ge=1)] = 10,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> nn.Module:
    """Wide ResNet WRN-depth-widen  (Zagoruyko & Komodakis 2016, Table 1). WRN-28-10: 36,479,194 parameters.

    ``depth`` = 6n + 4. ``dropout`` sits between the two convolutions of a block (the authors: 0, or 0.3 without
    augmentation). Initialisation of convolutions: normal, variance 2 / fan-out; head: torch's weights, zero bias. The
    WRN of google-research/sam has no 1x1 shortcuts and 36,220,634 parameters. Images of at least 4x4 pixels.
    """
    require_size("wrn", shape, 4)
    if (depth - 4) % 6:
        raise ParameterError(f"must be 6n + 4 (16, 22, 28, 34, 40, ...), not {depth}", key="depth")
    return WideResNet(shape[0], num_classes, (depth - 4) // 6, widen, dropout)
