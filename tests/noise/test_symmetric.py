"""Symmetric noise in both conventions and both ways of counting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from noisybench.errors import ParameterError
from noisybench.noise import inject

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "noise_transition.json").read_text())
EXCLUSIVE = [c for c in REFERENCE["transition_matrices"] if c["name"] == "symmetric_exclusive"]
CLEAN = np.repeat(np.arange(10), 5000)


def tolerance(expected: np.ndarray, n: int = 5000) -> np.ndarray:
    """Five standard deviations of a share measured on n samples."""
    return 5 * np.sqrt(expected * (1 - expected) / n) + 1e-12


@pytest.mark.parametrize("case", EXCLUSIVE, ids=lambda c: f"{c['rate']}-{c['source'].split('@')[0]}")
@pytest.mark.parametrize("count", ["exact", "independent"])
def test_exclusive_matches_the_published_matrices(case, count):
    noisy = inject(CLEAN, "symmetric", num_classes=10, seed=0, rate=case["rate"], count=count)
    expected = np.array(case["T"])
    assert (np.abs(noisy.transition - expected) < tolerance(expected)).all()
    if count == "exact":
        assert noisy.realised_rate == pytest.approx(case["rate"], abs=1e-12)
    else:
        assert noisy.realised_rate == pytest.approx(case["rate"], abs=0.012)
        assert noisy.realised_rate != case["rate"]


@pytest.mark.parametrize("case", REFERENCE["symmetric_inclusive"]["cases"], ids=lambda c: str(c["rate"]))
@pytest.mark.parametrize("count", ["exact", "independent"])
def test_inclusive_matches_the_published_matrices(case, count):
    noisy = inject(CLEAN, "symmetric", num_classes=10, seed=0, rate=case["rate"], flip="inclusive", count=count)
    expected = np.array(case["T"])
    assert (np.abs(noisy.transition - expected) < tolerance(expected)).all()
    assert noisy.rate == case["rate"]
    assert noisy.realised_rate == pytest.approx(0.9 * case["rate"], abs=0.012)  # r (K-1)/K: 80% is 72%


@pytest.mark.parametrize(
    ("n", "rate", "flipped"),
    [
        (1297, 0.4, 519),
        (45, 0.7, 32),
        (5, 0.5, 3),
        (10, 0.04, 0),
        (10, 0.05, 1),
        (1000, 1.0, 1000),
        (50000, 0.2, 10000),
    ],
)
def test_exact_counts_over_the_whole_set(n, rate, flipped):
    # rate n rounded half up: 518.8, 31.5, 2.5, 0.4, 0.5
    noisy = inject(np.arange(n) % 10, "symmetric", num_classes=10, seed=1, rate=rate)
    assert noisy.flipped.sum() == flipped


def test_inclusive_redraws_exactly_the_chosen():
    # With two classes half of what is redrawn keeps its label, so at most the chosen 400 differ and about 200 do.
    noisy = inject(np.arange(1000) % 2, "symmetric", num_classes=2, seed=0, rate=0.4, flip="inclusive")
    assert 150 < noisy.flipped.sum() < 250
    same = inject(np.arange(1000) % 2, "symmetric", num_classes=2, seed=0, rate=0.4, flip="exclusive")
    assert same.flipped[noisy.flipped].all()


def test_full_exclusive_rate_leaves_no_label_right():
    noisy = inject(CLEAN, "symmetric", num_classes=10, seed=0, rate=1.0)
    assert np.diag(noisy.transition).tolist() == [0] * 10


def test_flips_do_not_follow_the_order_of_the_samples():
    noisy = inject(np.zeros(10_000, int), "symmetric", num_classes=10, seed=0, rate=0.5)
    halves = noisy.flipped[:5000].sum(), noisy.flipped[5000:].sum()
    assert abs(halves[0] - halves[1]) < 5 * 50  # hypergeometric, standard deviation 25 a half


def test_per_class_counts_are_exact():
    clean = np.repeat(np.arange(4), [50, 5, 0, 1])
    noisy = inject(clean, "symmetric", num_classes=4, seed=0, rate=0.5, count="per_class")
    assert [int(noisy.flipped[clean == c].sum()) for c in range(4)] == [25, 3, 0, 1]  # 2.5 and 0.5 rounded half up
    apl = inject(CLEAN, "symmetric", num_classes=10, seed=0, rate=0.4, count="per_class")
    assert np.diag(apl.transition) == pytest.approx(0.6, abs=1e-12)  # int(0.4 * 50000) / 10 = 2,000 of each class
    off = apl.transition[~np.eye(10, dtype=bool)]
    assert off == pytest.approx(0.4 / 9, abs=5 * (0.042 / 5000) ** 0.5)


def test_targets_by_frequency():
    clean = np.repeat(np.arange(3), [60_000, 30_000, 10_000])
    exclusive = inject(clean, "symmetric", num_classes=3, seed=0, rate=0.5, targets="frequency")
    want = [[0.5, 0.375, 0.125], [0.5 * 6 / 7, 0.5, 0.5 / 7], [1 / 3, 1 / 6, 0.5]]  # f_j / (1 - f_i), halved
    assert exclusive.transition == pytest.approx(np.array(want), abs=0.02)
    assert exclusive.realised_rate == 0.5
    inclusive = inject(clean, "symmetric", num_classes=3, seed=0, rate=1.0, targets="frequency", flip="inclusive")
    assert inclusive.transition == pytest.approx(np.tile([0.6, 0.3, 0.1], (3, 1)), abs=0.02)
    assert np.bincount(inclusive.labels) / 100_000 == pytest.approx([0.6, 0.3, 0.1], abs=0.01)


def test_targets_by_frequency_never_give_an_absent_class():
    clean = np.array([0, 0, 0, 2, 2])
    for flip in ("exclusive", "inclusive"):
        noisy = inject(clean, "symmetric", num_classes=4, seed=0, rate=1.0, targets="frequency", flip=flip)
        assert set(noisy.labels) <= {0, 2}
    assert inject(clean, "symmetric", num_classes=4, seed=0, rate=1.0, targets="frequency").flipped.all()
    one = np.zeros(5, int)
    with pytest.raises(ParameterError, match="all labels are of one class"):
        inject(one, "symmetric", num_classes=2, seed=0, rate=0.4, targets="frequency")
    assert not inject(one, "symmetric", num_classes=2, seed=0, rate=0.0, targets="frequency").flipped.any()
