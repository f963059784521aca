"""noisybench: a label-noise robustness benchmark for image classification.

Importing this package imports no torch; the builders below load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisybench.losses import build_loss as build_loss
    from noisybench.models import build_model as build_model
    from noisybench.noise import inject as inject
    from noisybench.optim import build_optimizer as build_optimizer
    from noisybench.optim import build_schedule as build_schedule

__version__ = "0.1.0"

_HOMES = {
    "build_loss": "noisybench.losses",
    "build_model": "noisybench.models",
    "build_optimizer": "noisybench.optim",
    "build_schedule": "noisybench.optim",
    "inject": "noisybench.noise",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'noisybench' has no attribute '{name}'")
