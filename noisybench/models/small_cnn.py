"""A small convolutional network for small images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from noisybench.models.layers import conv3x3, global_average, require_size
from noisybench.registry import model


class SmallCNN(nn.Module):
    """conv - conv - pool - conv - conv - global average - linear, each convolution with batch norm and ReLU."""

    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__()

        def unit(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(conv3x3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU())

        self.features = nn.Sequential(
            unit(channels, width),
            unit(width, width),
            nn.MaxPool2d(2),
            unit(width, 2 * width),
            unit(2 * width, 2 * width),
        )
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        logits: Tensor = self.head(global_average(self.features(x)))
        return logits


@model("small_cnn")
def small_cnn(shape: tuple[int, int, int], num_classes: int, *, width: Annotated[int, Field(ge=1)] = 32) -> nn.Module:
    """Small CNN: four 3x3 convolutions (width, width, 2 width, 2 width), batch norm, one max-pool, global average.

    65,834 parameters at width 32 on one channel and 10 classes. Meant for digits and for quick looks; not from any
    paper. Initialisation: torch's. Images of at least 4x4 pixels.
    """
    require_size("small_cnn", shape, 4)
    return SmallCNN(shape[0], num_classes, width)
