"""Label noise: one kind a file, and ``inject``, which makes noisy labels that never change."""

from __future__ import annotations

from noisybench.noise.injection import NoisyLabels, build_noise, inject
from noisybench.noise.transition import measured_transition

__all__ = ["NoisyLabels", "build_noise", "inject", "measured_transition"]
