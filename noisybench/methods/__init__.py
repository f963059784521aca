"""How a model is trained: one file per method. The contract is ``algorithm.Algorithm``, the default is ``erm``."""

from __future__ import annotations

from noisybench.methods.algorithm import Algorithm, Phase
from noisybench.methods.task import Oracle, Task

__all__ = ["Algorithm", "Oracle", "Phase", "Task"]
