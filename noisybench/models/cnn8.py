"""The 8-layer CNN of the robust-loss papers."""

from __future__ import annotations

from torch import Tensor, nn

from noisybench.models.layers import require_size
from noisybench.registry import model


class CNN8(nn.Module):
    """Three pairs of 3x3 convolutions (64, 128, 196 channels), each followed by max-pooling; linear 256, linear."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = shape[0]
        for outputs in (64, 128, 196):
            for i, o in ((inputs, outputs), (outputs, outputs)):
                layers += [nn.Conv2d(i, o, kernel_size=3, padding=1), nn.BatchNorm2d(o), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            inputs = outputs
        self.features = nn.Sequential(*layers, nn.Flatten())
        size = 196 * (shape[1] // 8) * (shape[2] // 8)
        self.hidden = nn.Sequential(nn.Linear(size, 256), nn.BatchNorm1d(256), nn.ReLU())
        self.head = nn.Linear(256, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        logits: Tensor = self.head(self.hidden(self.features(x)))
        return logits


@model("cnn8", cite="ma2020apl")
def cnn8(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """8-layer CNN of the robust-loss papers on CIFAR-10  (Ma et al. 2020, official code). 1,639,794 parameters.

    Six convolutions with bias, batch norm and ReLU, then a hidden layer of 256 with batch norm on the flattened map
    (4x4 for 32x32 images; its size follows the image). Initialisation as the authors': Kaiming-uniform convolutions,
    Xavier-uniform linear layers, torch's biases. Images of at least 8x8 pixels.
    """
    require_size("cnn8", shape, 8)
    return CNN8(shape, num_classes)
