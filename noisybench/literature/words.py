"""The one table that maps the sources' words to ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FLIPS = {"excl": "exclusive", "incl": "inclusive"}
"""Their flip convention -> the value of ``noise.flip``."""

RULES = {"last": "last", "last10_mean": "last10", "best": "best", "noisy_val": "validation"}
"""Their epoch -> our selection rule."""

KINDS = {
    "clean": "clean",
    "symmetric": "symmetric",
    "asymmetric": "asymmetric",
    "pairflip": "pairflip",
    "instance": "instance",
    "human": "human",
}
"""Their noise -> the value of ``noise.kind``."""

DATASETS = {"cifar10": (10, 50_000, 10_000), "cifar100": (100, 50_000, 10_000)}
"""Data set -> classes, training images, test images."""


@dataclass(frozen=True)
class Architecture:
    """What a source calls a network: how we print it, and which of our models it is.

    ``models``: the models of ours that it is or, where ``unsure`` says what the source leaves open, may be; empty when
    none is. ``params``: the parameters that the model must have.
    """

    label: str
    models: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    unsure: str | None = None


_WRN_28_10 = Architecture(
    "WRN-28-10",
    ("wrn",),
    {"depth": 28, "widen": 10},
    unsure="the WRN-28-10 of the authors' code has no 1x1 shortcuts, the one here has",
)

ARCHITECTURES = {
    "cnn8": Architecture("8-layer CNN", ("cnn8",)),
    "cnn9": Architecture("9-layer CNN", ("cnn9",)),
    "resnet32": Architecture(
        "ResNet-32",
        ("resnet32", "resnet32_wide"),
        unsure="the width of the published ResNet-32 is not stated; that it is resnet32_wide is an inference",
    ),
    "resnet32-wide (64; 128/256/512)": Architecture("ResNet-32 of 64; 128, 256, 512 channels", ("resnet32_wide",)),
    "resnet34": Architecture("ResNet-34", ("resnet34",)),
    "resnet34 (torchvision stem)": Architecture("ResNet-34 with the ImageNet stem"),
    "preact_resnet18": Architecture("PreAct ResNet-18", ("preact_resnet18",)),
    "WRN-28-10 (200 epochs)": _WRN_28_10,
    "WRN-28-10 (1800 epochs)": _WRN_28_10,
    "Shake-Shake (26 2x96d)": Architecture("Shake-Shake 26 2x96d"),
    "PyramidNet": Architecture("PyramidNet"),
    "PyramidNet+ShakeDrop": Architecture("PyramidNet with ShakeDrop"),
    "resnet101": Architecture("wide ResNet-101 of the MentorNet code"),
    "inception": Architecture("Inception of the MentorNet code"),
}
"""Their architecture -> ours. The two ResNet-32 are kept apart: see protocols.md."""
