"""Noise after noise."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from noisybench.errors import DataError, ParameterError
from noisybench.noise import expected_rate, expected_transition, inject

CLEAN = np.repeat(np.arange(3), 1000)


def composed(*steps, clean=CLEAN, **more):
    return inject(clean, "compose", num_classes=3, seed=0, steps=list(steps), **more)


def test_a_step_sees_what_the_one_before_it_left():
    pair = {"kind": "pairflip", "rate": 1.0}
    assert (composed(pair, pair).labels == (CLEAN + 2) % 3).all()
    assert composed(pair, pair, pair).realised_rate == 0  # flipped back: the joint result is measured
    assert composed(pair).realised_rate == 1


def test_steps_draw_independently():
    half = {"kind": "pairflip", "rate": 0.5}
    noisy = composed(half, half)
    # 0.5 each, independently: a quarter stays, a half moves once, a quarter twice
    assert noisy.transition[0] == pytest.approx([0.25, 0.5, 0.25], abs=5 * 0.014)
    assert noisy.rate is None


def test_expected_matrix_is_the_product():
    steps = [{"kind": "pairflip", "rate": 0.4}, {"kind": "symmetric", "rate": 0.3}]
    first, second = np.array([[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]]), np.full((3, 3), 0.15) + 0.55 * np.eye(3)
    assert expected_transition("compose", {"steps": steps}, 3) == pytest.approx(first @ second)
    assert expected_rate("compose", {"steps": steps}, 3) == pytest.approx(1 - (0.6 * 0.7 + 0.4 * 0.15))
    assert composed(*steps).transition == pytest.approx(first @ second, abs=0.08)


def test_defaults_are_written_out():
    noisy = composed({"kind": "symmetric", "rate": 0.3})
    assert noisy.params["steps"] == [
        {"kind": "symmetric", "rate": 0.3, "flip": "exclusive", "count": "exact", "targets": "uniform"}
    ]
    assert inject(CLEAN, "compose", num_classes=3, seed=0, **noisy.params).sha256 == noisy.sha256


def test_files_are_pinned(tmp_path):
    labels = (CLEAN + 1) % 3
    np.savez(tmp_path / "a.npz", labels=labels)
    digest = hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    step = {"kind": "file", "path": "a.npz", "sha256": digest}
    noisy = composed(step, {"kind": "pairflip", "rate": 1.0}, folder=tmp_path)
    assert (noisy.labels == (CLEAN + 2) % 3).all()
    with pytest.raises(DataError, match=f"SHA-256 is {digest}, the step says 00"):
        composed({**step, "sha256": "00"}, folder=tmp_path)
    with pytest.raises(DataError, match="No such file"):
        composed(step, folder=tmp_path / "elsewhere")
    with pytest.raises(ParameterError, match="reads a file: give its SHA-256"):
        composed({"kind": "file", "path": "a.npz"})


def test_details_of_steps(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3000, 1, 2, 2), dtype=np.uint8)
    noisy = composed({"kind": "clean"}, {"kind": "instance", "rate": 0.4}, images=images)
    assert set(noisy.details) == {"step2.mean_largest_offclass_share", "step2.mean_flip_probability"}
    assert expected_rate("compose", noisy.params, 3) == pytest.approx(0.4000133828)  # the mean of that normal
    two = {"steps": [{"kind": "instance", "rate": 0.4}, {"kind": "symmetric", "rate": 0.1}]}
    assert expected_rate("compose", two, 3) is None


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least 1"),
        ([{}], "step 1 needs a 'kind'"),
        ([{"kind": "clean"}, {"kind": "symetric"}], "step 2 .'symetric'.: .*did you mean 'symmetric'"),
        ([{"kind": "symmetric", "rate": 1.5}], "step 1 .'symmetric'.: rate: must be less than or equal to 1"),
        ([{"kind": "symmetric"}], "needs 'rate'"),
        ([{"kind": "clean", "seed": 1}], "no parameter 'seed'"),
        ("symmetric", "list"),
    ],
)
def test_steps_that_cannot_be(steps, message):
    with pytest.raises(ParameterError, match=message) as caught:
        inject(CLEAN, "compose", num_classes=3, seed=0, steps=steps)
    assert caught.value.key == "steps"
    assert "\n" not in str(caught.value)
