"""The wide ResNet-32 of MentorMix, very probably the network of the SAM paper's noisy-label table."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu, pad

from noisybench.models.layers import conv3x3, global_average, kaiming, require_size
from noisybench.registry import model

SLOPE = 0.1
EPSILON = 0.001  # of batch norm


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class WideThinShortcutBlock(nn.Module):
    """conv(act(bn(conv(act(bn(x)))))) + x; where channels grow, x is average-pooled and padded with zero channels.

    ``opening`` is the first block of the network: there x <- bn(act(x)) first, and the shortcut starts from that.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, opening: bool = False) -> None:
        super().__init__()
        self.bn1, self.conv1 = _norm(inputs), conv3x3(inputs, outputs, stride)
        self.bn2, self.conv2 = _norm(outputs), conv3x3(outputs, outputs)
        self.stride, self.missing, self.opening = stride, outputs - inputs, opening

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs, H / stride, W / stride]."""
        if self.opening:
            x = active = self.bn1(leaky_relu(x, SLOPE))
        else:
            active = leaky_relu(self.bn1(x), SLOPE)
        residual: Tensor = self.conv2(leaky_relu(self.bn2(self.conv1(active)), SLOPE))
        if self.stride > 1:
            x = avg_pool2d(x, self.stride, ceil_mode=True)
        if self.missing:
            half = self.missing // 2
            x = pad(x, (0, 0, 0, 0, half, self.missing - half))
        return residual + x


class WideResNet32(nn.Module):
    """conv 64, three stages of five blocks with 128, 256, 512 channels, batch norm, leaky ReLU, average, linear."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, 64)
        blocks, inputs = [], 64
        for number, outputs in enumerate((128, 256, 512)):
            blocks.append(WideThinShortcutBlock(inputs, outputs, 1 if number == 0 else 2, opening=number == 0))
            blocks += [WideThinShortcutBlock(outputs, outputs, 1) for _ in range(4)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.bn = _norm(512)
        self.head = nn.Linear(512, num_classes)
        kaiming(self, "fan_out")
        nn.init.uniform_(self.head.weight, -math.sqrt(3 / 512), math.sqrt(3 / 512))
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        x = leaky_relu(self.bn(self.blocks(self.conv1(x))), SLOPE)
        logits: Tensor = self.head(global_average(x))
        return logits


@model("resnet32_wide", cite="jiang2020mentormix")
def resnet32_wide(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The wide ResNet-32 of MentorMix  (Jiang et al. 2020, official code). 29,442,378 parameters for 10 classes.

    Pre-activation, leaky ReLU 0.1, conv 64, three stages of five two-convolution blocks with 128, 256, 512 channels,
    parameter-free shortcuts; 4.3 G multiply-adds a 32x32 image. Foret et al. 2021, Table 4, name "ResNet-32" after this
    work: that they mean this network is an inference, strong because the thin one cannot reach their scores.
    As the authors' code: batch norm epsilon 0.001, in the first block activation before batch norm and a shortcut that
    starts there; convolutions normal with variance 2 / fan-out, head uniform in +-sqrt(3 / fan-in), zero bias.
    Differs from it in the padding of strided convolutions (one pixel on each side; TensorFlow pads at one end) and in
    that odd sizes are rounded up. Images of at least 4x4 pixels.
    """
    require_size("resnet32_wide", shape, 4)
    return WideResNet32(shape[0], num_classes)
