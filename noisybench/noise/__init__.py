"""Label noise: one kind a file, and ``inject``, which makes noisy labels that never change.

    from noisybench import inject
    noisy = inject(clean, "symmetric", num_classes=10, seed=0, rate=0.4)     # any integer array; needs no torch
    noisy.labels, noisy.realised_rate, noisy.transition

What "40%" means in the literature, on CIFAR-10 with 5,000 images a class, and how to get it here:

| source | noise | wrong | here |
| --- | --- | --- | --- |
| Patrini, Co-teaching, JoCoR, INCV | symmetric | about 40% | ``symmetric, rate: 0.4, count: independent`` |
| APL and later robust losses | symmetric | 40% of each class | ``symmetric, rate: 0.4, count: per_class`` |
| SAM (Foret et al.) | "flipped at random" | not stated | ``symmetric, rate: 0.4`` is the reading used here |
| DivideMix | symmetric | about 36% | ``symmetric, rate: 0.4, flip: inclusive`` |
| ELR, GJS | symmetric | about 36% | ``symmetric, rate: 0.4, flip: inclusive`` |
| Arazo et al. | symmetric | about 36% | ``symmetric, rate: 0.4, flip: inclusive, count: independent`` |
| Patrini, JoCoR, asymmetric losses | asymmetric | about 20% | ``asymmetric, rate: 0.4, count: independent`` |
| APL, ELR, GJS | asymmetric | 20% | ``asymmetric, rate: 0.4`` |
| DivideMix | asymmetric | about 20% | ``asymmetric, rate: 0.4, count: whole_set`` |
| Co-teaching | pair flip | about 40% | ``pairflip, rate: 0.4, count: independent`` |

A kind is a function of ``(clean, num_classes, draws, source)`` with keyword-only parameters, registered by
``@noise(name, cite=..., transition=..., wrong=...)``. ``clean`` int64 ``[N]`` is its own copy; ``draws`` makes all
random numbers; ``source`` has ``images``, ``index`` and ``folder`` (``Source``), each None unless given. It returns
int64 ``[N]`` labels, or ``Corrupted(labels, details)``. ``transition`` and ``wrong`` say what it does in expectation
(``expected.py``); both may be left out.
"""

from __future__ import annotations

from noisybench.noise.expected import expected_rate, expected_transition
from noisybench.noise.files import StoredLabels, read_labels, write_labels
from noisybench.noise.injection import NoisyLabels, build_noise, inject
from noisybench.noise.source import Corrupted, Source
from noisybench.noise.transition import measured_transition

__all__ = [
    "Corrupted",
    "NoisyLabels",
    "Source",
    "StoredLabels",
    "build_noise",
    "expected_rate",
    "expected_transition",
    "inject",
    "measured_transition",
    "read_labels",
    "write_labels",
]
