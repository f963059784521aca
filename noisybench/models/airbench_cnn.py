"""The network of the airbench speed records: seven convolutions that reach 94 % on CIFAR-10 within minutes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from noisybench.models.layers import conv3x3, require_size
from noisybench.registry import model


def block(inputs: int, outputs: int) -> nn.Sequential:
    """conv - max-pool - batch norm - GELU - conv - batch norm - GELU; halves the image."""
    first, second = conv3x3(inputs, outputs), conv3x3(outputs, outputs)
    for conv in (first, second):
        nn.init.dirac_(conv.weight[: conv.in_channels])
    return nn.Sequential(
        first, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.GELU(), second, nn.BatchNorm2d(outputs), nn.GELU()
    )


class AirbenchCNN(nn.Module):
    """A 2x2 stem, three blocks, global max-pool, linear layer without bias, logits divided by 9."""

    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        stem = 8 * channels
        self.features = nn.Sequential(
            nn.Conv2d(channels, stem, kernel_size=2),
            nn.GELU(),
            block(stem, width),
            block(width, 4 * width),
            block(4 * width, 4 * width),
        )
        self.head = nn.Linear(4 * width, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        logits: Tensor = self.head(self.features(x).amax(dim=(2, 3))) / 9
        return logits


@model("airbench_cnn", cite="jordan2024airbench")
def airbench_cnn(
    shape: tuple[int, int, int], num_classes: int, *, width: Annotated[int, Field(ge=8)] = 64
) -> nn.Module:
    """Network of airbench94 (Jordan 2024, official code). 1,972,792 parameters for 3 channels and 10 classes.

    A 2x2 convolution to 8 channels an input channel, three blocks of ``width``, 4 and 4 times ``width`` channels (two
    3x3 convolutions each, the first pooled 2x2), global max-pool (there 3x3, the same at 32x32), a linear layer without
    bias, logits divided by 9. Identity initialisation of the first filters of each 3x3 convolution, as there. Differs
    from the record in what belongs to its training: the stem is learnt (there: whitening filters of the training
    images, frozen), batch norm has torch's momentum and learnt scales (there 0.4 and none), weights are float32. Images
    of at least 9x9 pixels.
    """
    require_size("airbench_cnn", shape, 9)
    return AirbenchCNN(shape[0], num_classes, width)
