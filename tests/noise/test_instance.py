"""Instance-dependent noise against the numbers of the authors' code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from noisybench.errors import DataError
from noisybench.noise import expected_rate, inject
from noisybench.noise.instance import offclass_shares, truncated_normal

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "noise_pdn_instance.json").read_text())
MOMENTS = REFERENCE["truncated_normal_moments"]
QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (600, 3, 5, 5), dtype=np.uint8)
CLEAN = np.arange(600) % 4


def test_exact_small_example():
    case = REFERENCE["exact_small_example"]
    x, weights = np.array(case["x"]), np.array(case["W"])
    for row, y, q, want in zip(x, case["y"], case["flip_rate"], case["P"], strict=True):
        got = q * offclass_shares(row[None], weights[y], y)[0]
        assert got[y] == 0
        got[y] = 1 - q
        assert got == pytest.approx(np.array(want), abs=1e-15)


@pytest.mark.parametrize("case", MOMENTS, ids=lambda c: str(c["rate"]))
def test_moments_of_the_flip_rate(case):
    grid = (np.arange(200_000) + 0.5) / 200_000  # the distribution itself, no sample of it
    rates = truncated_normal(grid, case["rate"], 0.1)
    assert rates.mean() == pytest.approx(case["mean"], abs=2e-6)
    assert rates.std() == pytest.approx(case["std"], abs=1e-5)
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert expected_rate("instance", {"rate": case["rate"]}, 10) == pytest.approx(case["mean"], abs=1e-9)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: str(c["rate"]))
def test_statistics_of_the_authors_code(case):
    n, features, classes = case["n"], case["num_features"], case["num_classes"]
    x, clean = RANDOM.standard_normal((n, features)), RANDOM.integers(0, classes, n)
    noisy = inject(clean, "instance", num_classes=classes, seed=0, images=x, rate=case["rate"])
    assert noisy.details["mean_flip_probability"] == pytest.approx(case["mean_flip_probability"], abs=0.009)
    assert noisy.realised_rate == pytest.approx(case["realised_noise_rate"], abs=0.04)  # two draws of 3,000
    # the share depends on the ten matrices that were drawn as well as on the samples
    assert noisy.details["mean_largest_offclass_share"] == pytest.approx(case["mean_largest_offclass_share"], abs=0.03)
    rates = truncated_normal((np.arange(n) + 0.5) / n, case["rate"], case["norm_std"])
    got = np.quantile(rates, QUANTILES)
    assert got == pytest.approx(np.array(case["quantiles_flip_probability_1_5_25_50_75_95_99"]), abs=0.013)


@pytest.mark.parametrize("variant", ["pdn", "cifar_n"])
@pytest.mark.parametrize("scale", ["raw", "unit", "standardised"])
def test_every_variant_and_scale(variant, scale):
    noisy = inject(CLEAN, "instance", num_classes=4, seed=0, images=IMAGES, rate=0.4, variant=variant, scale=scale)
    assert noisy.realised_rate == pytest.approx(0.4, abs=5 * 0.02)
    assert (np.diag(noisy.transition) > 0.4).all()
    assert 1 / 3 < noisy.details["mean_largest_offclass_share"] <= 1


def test_raw_pixels_settle_the_target_and_scaled_ones_less():
    share = {
        scale: inject(CLEAN, "instance", num_classes=4, seed=0, images=IMAGES, rate=0.4, scale=scale).details[
            "mean_largest_offclass_share"
        ]
        for scale in ("raw", "unit", "standardised")
    }
    assert share["raw"] > 0.99
    assert share["unit"] < share["standardised"] < share["raw"]  # norm of x: about 5, sqrt(75) = 8.7, 1,300


def test_one_matrix_or_one_for_each_class():
    # Equal images: with one matrix for all, classes 2 and 3 have the same favourite; per class they need not.
    images = np.repeat(IMAGES[:1], 600, axis=0)
    favourite = {}
    for variant in ("pdn", "cifar_n"):
        clean = np.repeat(np.arange(10), 60)
        noisy = inject(clean, "instance", num_classes=10, seed=0, images=images, rate=1.0, variant=variant)
        favourite[variant] = {tuple(noisy.labels[(clean == c) & noisy.flipped]) for c in range(10)}
    goals = {variant: {c for labels in group for c in labels} for variant, group in favourite.items()}
    assert len(goals["cifar_n"]) == 2  # the largest logit, and the second where the largest is the own class
    assert len(goals["pdn"]) > 2


def test_the_image_decides():
    noisy = inject(CLEAN, "instance", num_classes=4, seed=0, images=IMAGES, rate=0.9)
    other = inject(CLEAN, "instance", num_classes=4, seed=0, images=IMAGES[::-1].copy(), rate=0.9)
    assert (noisy.flipped == other.flipped).all()  # whether a label flips does not depend on the image ...
    assert (noisy.labels != other.labels).any()  # ... where it goes does


def test_more_samples_than_are_projected_at_a_time_and_an_empty_class():
    clean = np.zeros(5000, int)
    images = RANDOM.integers(0, 256, (5000, 1, 2, 2), dtype=np.uint8)
    whole = inject(clean, "instance", num_classes=3, seed=0, images=images, rate=0.5)
    assert set(whole.labels) == {0, 1, 2}
    assert whole.transition[1].tolist() == [0, 1, 0]


def test_without_images():
    with pytest.raises(DataError, match="needs the images"):
        inject(CLEAN, "instance", num_classes=4, seed=0, rate=0.4)
    with pytest.raises(DataError, match="not finite"):
        inject(CLEAN, "instance", num_classes=4, seed=0, rate=0.4, images=np.full((600, 3), np.nan))
