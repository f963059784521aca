"""Pair flip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from noisybench.noise import inject

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "noise_transition.json").read_text())
PUBLISHED = [c for c in REFERENCE["transition_matrices"] if c["name"] == "pairflip"]
CLEAN = np.repeat(np.arange(10), 5000)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda c: str(c["rate"]))
def test_exact_equals_the_published_matrices(case):
    noisy = inject(CLEAN, "pairflip", num_classes=10, seed=0, rate=case["rate"])
    assert noisy.transition == pytest.approx(np.array(case["T"]), abs=1e-12)
    assert noisy.realised_rate == pytest.approx(case["rate"], abs=1e-12)


def test_independent_draws_vary():
    noisy = inject(CLEAN, "pairflip", num_classes=10, seed=0, rate=0.45, count="independent")
    assert np.diag(noisy.transition) == pytest.approx(0.55, abs=5 * (0.25 / 5000) ** 0.5)
    assert len(set(np.diag(noisy.transition))) > 1
    assert ((noisy.transition > 0) == (np.eye(10) + np.roll(np.eye(10), 1, axis=1) > 0)).all()


def test_any_number_of_classes():
    assert inject(np.arange(3), "pairflip", num_classes=3, seed=0, rate=1.0).labels.tolist() == [1, 2, 0]
