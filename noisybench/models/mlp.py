"""A multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

from pydantic import Field
from torch import nn

from noisybench.registry import model


@model("mlp")
def mlp(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: Annotated[int, Field(ge=1)] = 512,
    depth: Annotated[int, Field(ge=0)] = 1,
) -> nn.Module:
    """Multilayer perceptron: ``depth`` hidden layers of ``width`` ReLU units on the flattened image.

    No normalisation, no dropout; ``depth: 0`` is multinomial logistic regression. Initialisation: torch's, uniform in
    +-1/sqrt(inputs) for weights and biases. Any image size.
    """
    sizes = [math.prod(shape), *[width] * depth]
    hidden = [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], num_classes))
