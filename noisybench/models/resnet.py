"""ResNet-18 and ResNet-34 with the stem for small images: a 3x3 convolution of stride 1, no pooling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from noisybench.models.layers import conv3x3, global_average, require_size
from noisybench.registry import model


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)); a 1x1 convolution with batch norm where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs, H / stride, W / stride]."""
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(residual + self.shortcut(x))


class PreActBlock(nn.Module):
    """conv(relu(bn(conv(a)))) + shortcut, a = relu(bn(x)); the shortcut is x, or a 1x1 convolution of a."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3x3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3x3(outputs, outputs)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs, H / stride, W / stride]."""
        active = relu(self.bn1(x))
        residual: Tensor = self.conv2(relu(self.bn2(self.conv1(active))))
        return residual + (x if self.shortcut is None else self.shortcut(active))


class ResNet(nn.Module):
    """conv 64 - bn - relu, four stages with 64, 128, 256, 512 channels, global average, linear."""

    def __init__(
        self, block: type[BasicBlock] | type[PreActBlock], blocks: tuple[int, ...], channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(channels, 64), nn.BatchNorm2d(64)
        stages, inputs = [], 64
        for number, (outputs, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
            first = block(inputs, outputs, 1 if number == 0 else 2)
            stages.append(nn.Sequential(first, *(block(outputs, outputs, 1) for _ in range(count - 1))))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        x = self.stages(relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.head(global_average(x))
        return logits


@model("resnet18")
def resnet18(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-18 for small images  (He et al. 2016, Table 1, with a 3x3 stem). 11,173,962 parameters for 10 classes.

    Initialisation: torch's, as in the label-noise codes that use it (CIFAR-N). Images of at least 8x8 pixels.
    """
    require_size("resnet18", shape, 8)
    return ResNet(BasicBlock, (2, 2, 2, 2), shape[0], num_classes)


@model("resnet34")
def resnet34(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-34 for small images  (He et al. 2016, Table 1, with a 3x3 stem). 21,282,122 parameters for 10 classes.

    The network of GCE, ELR, CIFAR-N and, on CIFAR-100, of the robust-loss papers. Initialisation: torch's (CIFAR-N; the
    APL code uses Kaiming-uniform convolutions and a Xavier head). Images of at least 8x8 pixels.
    """
    require_size("resnet34", shape, 8)
    return ResNet(BasicBlock, (3, 4, 6, 3), shape[0], num_classes)


@model("preact_resnet18", cite="li2020dividemix")
def preact_resnet18(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Pre-activation ResNet-18 of DivideMix, ELR+ and others  (Li et al. 2020). 11,171,274 parameters for 10 classes.

    Differs from He et al. 2016b as these codes do: the stem has batch norm and ReLU, and no batch norm follows the last
    block. Initialisation: torch's. Images of at least 8x8 pixels.
    """
    require_size("preact_resnet18", shape, 8)
    return ResNet(PreActBlock, (2, 2, 2, 2), shape[0], num_classes)
