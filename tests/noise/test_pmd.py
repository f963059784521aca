"""Polynomial margin diminishing noise from a posterior."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.errors import DataError, ParameterError
from noisybench.noise import inject
from noisybench.noise.pmd import kept_share


def posterior(tmp_path, eta, name="eta.npz"):
    np.savez(tmp_path / name, eta=np.asarray(eta))
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("type_", "want"), [("I", [0.5, 0.625, 1.0]), ("II", [0, 0.125, 1]), ("III", [0, 0.875 / 3, 1])]
)
def test_the_three_polynomials(type_, want):
    assert kept_share(np.array([0.0, 0.5, 1.0]), type_) == pytest.approx(want, abs=1e-15)  # by hand at d = 0, 1/2, 1


@pytest.mark.parametrize(("type_", "kept"), [("I", 0.625), ("II", 0.125), ("III", 0.875 / 3)])
def test_labels_are_the_first_or_the_second_class(tmp_path, type_, kept):
    # u = 1 with .7, s = 2 with .2: d = 1/2. The label is u with chance k / 1.2, whatever the clean one is.
    path = posterior(tmp_path, np.tile([0.1, 0.7, 0.2], (20_000, 1)))
    clean = np.arange(20_000) % 3
    noisy = inject(clean, "pmd", num_classes=3, seed=0, path=path, type=type_)
    assert set(noisy.labels) == {1, 2}
    assert (noisy.labels == 1).mean() == pytest.approx(kept / 1.2, abs=0.018)
    assert noisy.details["factor"] == 1.2
    assert noisy.details["mean_margin"] == pytest.approx(0.5)
    assert noisy.rate is None
    certain = inject(clean, "pmd", num_classes=3, seed=0, path=path, type=type_, factor=kept / 2)
    assert (certain.labels == 1).all()


@pytest.mark.parametrize("rate", [0.35, 0.7])
@pytest.mark.parametrize("type_", ["I", "II", "III"])
def test_the_factor_is_tuned_to_a_rate(tmp_path, rate, type_):
    generator = np.random.default_rng(0)
    clean = generator.integers(0, 5, 4000)
    eta = generator.dirichlet(np.ones(5), 4000)
    eta[np.arange(4000), clean] += 0.8
    path = posterior(tmp_path, eta / eta.sum(axis=1, keepdims=True))
    noisy = inject(clean, "pmd", num_classes=5, seed=0, path=path, type=type_, rate=rate)
    assert noisy.realised_rate == pytest.approx(rate, abs=2 / 4000)
    assert noisy.rate == rate
    again = inject(clean, "pmd", num_classes=5, seed=0, path=path, type=type_, factor=noisy.details["factor"])
    assert again.sha256 == noisy.sha256


def test_a_rate_that_cannot_be_reached(tmp_path):
    path = posterior(tmp_path, np.tile([0.6, 0.3, 0.1], (90, 1)))
    clean = np.arange(90) % 3  # labels are 0 or 1: a third is right at either end
    with pytest.raises(ParameterError, match="cannot be reached; this posterior gives") as caught:
        inject(clean, "pmd", num_classes=3, seed=0, path=path, rate=0.1)
    assert caught.value.key == "rate"
    with pytest.raises(ParameterError, match="either 'rate' or 'factor'"):
        inject(clean, "pmd", num_classes=3, seed=0, path=path, rate=0.1, factor=1.0)


def test_a_subset_takes_its_rows(tmp_path):
    eta = np.eye(4)[np.arange(40) % 4] * 0.9 + 0.025
    path = posterior(tmp_path, eta)
    index = np.array([3, 10, 21])
    noisy = inject(index % 4, "pmd", num_classes=4, seed=0, path=path, index=index, factor=0.1)
    assert noisy.labels.tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("eta", "message"),
    [
        (np.full((3, 2), 0.5), "has 3 entries, the data 4"),
        (np.full((4, 2), 0.4), "sum to 1"),
        (np.array([[1.5, -0.5]] * 4), "sum to 1"),
        (np.full((4, 2), np.nan), "sum to 1"),
        (np.full((4, 4), 0.25), "'eta' has 4 classes, the data 2"),
        (np.ones((4, 2), int), "floats"),
        (np.ones(4), "floats"),
        (np.full((4, 2), None), "allow_pickle"),
    ],
)
def test_posteriors_that_are_none(tmp_path, eta, message):
    with pytest.raises(DataError, match=message):
        inject(np.array([0, 1, 0, 1]), "pmd", num_classes=2, seed=0, path=posterior(tmp_path, eta))


def test_files_that_are_no_posterior(tmp_path):
    np.savez(tmp_path / "other.npz", labels=np.arange(3))
    np.save(tmp_path / "array.npy", np.ones((2, 2)))
    (tmp_path / "text.npz").write_text("eta")
    for name in ("other.npz", "array.npy", "text.npz", "missing.npz"):
        with pytest.raises(DataError, match=name):
            inject(np.array([0, 1]), "pmd", num_classes=2, seed=0, path=str(tmp_path / name))
