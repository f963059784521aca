"""The CIFAR residual networks of He et al.: 6n + 2 layers, 16-32-64 channels, parameter-free shortcuts (option A)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from noisybench.models.layers import conv3x3, global_average, kaiming, require_size
from noisybench.registry import model


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)); the shortcut subsamples and pads new channels with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs, H / stride, W / stride]."""
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.missing:
            half = self.missing // 2
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half))
        return relu(residual + x)


class ThinResNet(nn.Module):
    """conv 16, three stages of n blocks with 16, 32, 64 channels, global average, linear."""

    def __init__(self, channels: int, num_classes: int, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(channels, 16), nn.BatchNorm2d(16)
        self.stages = nn.Sequential(
            *(BasicBlock(16, 16, 1) for _ in range(blocks)),
            BasicBlock(16, 32, 2),
            *(BasicBlock(32, 32, 1) for _ in range(blocks - 1)),
            BasicBlock(32, 64, 2),
            *(BasicBlock(64, 64, 1) for _ in range(blocks - 1)),
        )
        self.head = nn.Linear(64, num_classes)
        kaiming(self, "fan_in")
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        x = self.stages(relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.head(global_average(x))
        return logits


def _build(shape: tuple[int, int, int], num_classes: int, layers: int) -> nn.Module:
    require_size(f"resnet{layers}", shape, 4)
    return ThinResNet(shape[0], num_classes, (layers - 2) // 6)


@model("resnet20")
def resnet20(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """CIFAR ResNet-20, option A  (He et al. 2016, section 4.2). 269,722 parameters for 10 classes; see resnet32."""
    return _build(shape, num_classes, 20)


@model("resnet32")
def resnet32(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """CIFAR ResNet-32, option A  (He et al. 2016, section 4.2). 464,154 parameters for 10 classes.

    The thin network most of the field calls ResNet-32; the one of Foret et al. 2021, Table 4, is ``resnet32_wide``.
    Initialisation of convolutions and head: normal, variance 2 / fan-in (He et al. 2015), as in the usual PyTorch port
    (akamaster). Images of at least 4x4 pixels.
    """
    return _build(shape, num_classes, 32)


@model("resnet44")
def resnet44(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """CIFAR ResNet-44, option A  (He et al. 2016, section 4.2). 658,586 parameters for 10 classes; see resnet32."""
    return _build(shape, num_classes, 44)


@model("resnet56")
def resnet56(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """CIFAR ResNet-56, option A  (He et al. 2016, section 4.2). 853,018 parameters for 10 classes; see resnet32."""
    return _build(shape, num_classes, 56)


@model("resnet110")
def resnet110(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """CIFAR ResNet-110, option A  (He et al. 2016, section 4.2). 1,727,962 parameters for 10 classes; see resnet32.

    The paper warms up at a tenth of the learning rate until the training error is below 80 %.
    """
    return _build(shape, num_classes, 110)
