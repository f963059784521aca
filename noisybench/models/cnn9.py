"""The 9-layer CNN of Co-teaching."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from noisybench.models.layers import global_average, require_size
from noisybench.registry import model

WIDTHS = (128, 128, 128, 256, 256, 256, 512, 256, 128)


class CNN9(nn.Module):
    """Nine 3x3 convolutions, max-pool and channel dropout after the third and sixth, the last three unpadded."""

    def __init__(self, channels: int, num_classes: int, drop: float) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, kernel_size=3, padding=1 if n < 6 else 0)
            for n, (i, o) in enumerate(zip(inputs, WIDTHS, strict=True))
        )
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.pool, self.dropout = nn.MaxPool2d(2), nn.Dropout2d(drop)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = leaky_relu(norm(conv(x)), 0.01)
            if number in (2, 5):
                x = self.dropout(self.pool(x))
        logits: Tensor = self.head(global_average(x))
        return logits


@model("cnn9", cite="han2018coteaching")
def cnn9(
    shape: tuple[int, int, int], num_classes: int, *, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
) -> nn.Module:
    """9-layer CNN of Co-teaching and its kin  (Han et al. 2018, official code). 4,434,570 parameters for 10 classes.

    Leaky ReLU 0.01, channel dropout 0.25 as the authors'; initialisation: torch's. The last three convolutions are not
    padded and need images of at least 28x28 pixels. Differs from the authors' code in that dropout follows train and
    eval mode (there a functional call without the flag: always off or always on, by torch version).
    """
    require_size("cnn9", shape, 28)
    return CNN9(shape[0], num_classes, dropout)
