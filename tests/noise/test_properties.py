"""What must hold for any labels, any number of classes and any rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from noisybench.noise import expected_transition, inject
from noisybench.noise.transition import exact_count

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, database=None)
RATES = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1).map(lambda r: round(r, 3)))


@st.composite
def labels(draw: Any) -> tuple[np.ndarray, int]:
    """Up to 3,000 labels of 2 to 1,000 classes, in any proportion, most often with empty classes."""
    classes = draw(st.one_of(st.integers(2, 12), st.integers(2, 1000)))
    present = draw(st.integers(1, classes))
    n, seed = draw(st.integers(1, 3000)), draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(classes)[:present]
    return chosen[(present * generator.random(n) ** 2).astype(int)], classes


@st.composite
def requests(draw: Any, classes: int) -> tuple[str, dict[str, Any]]:
    """A kind that needs nothing but labels, with parameters of all its conventions."""
    kind = draw(st.sampled_from(["symmetric", "asymmetric", "pairflip", "block", "matrix"]))
    count = draw(st.sampled_from(["exact", "independent"]))
    params: dict[str, Any] = {"count": count}
    if kind == "matrix":
        generator = np.random.default_rng(draw(st.integers(0, 1000)))
        rows = generator.random((classes, classes)) * (generator.random((classes, classes)) < 0.5) + 1e-3 * np.eye(
            classes
        )
        return kind, {**params, "matrix": (rows / rows.sum(axis=1, keepdims=True)).tolist()}
    params["rate"] = draw(RATES)
    if kind == "symmetric":
        params["count"] = draw(st.sampled_from(["exact", "per_class", "independent"]))
    if kind in ("symmetric", "block"):
        params["flip"] = draw(st.sampled_from(["exclusive", "inclusive"]))
    if kind == "asymmetric":
        params["mapping"] = draw(st.sampled_from(["next", {0: classes - 1}, {0: 1, 1: 0}]))
        params["count"] = draw(st.sampled_from(["exact", "whole_set", "independent"]))
    if kind == "block":
        cut = draw(st.integers(2, classes))
        params["groups"] = [list(range(cut)), list(range(cut, classes))]
    return kind, params


@SETTINGS
@given(st.data(), labels(), st.integers(0, 2**63 - 1))
def test_every_request(data, made, seed):
    clean, classes = made
    kind, params = data.draw(requests(classes))
    before = clean.copy()
    noisy = inject(clean, kind, num_classes=classes, seed=seed, **params)
    assert (clean == before).all()  # clean input is never modified
    assert noisy.labels.min() >= 0
    assert noisy.labels.max() < classes
    assert noisy.sha256 == inject(clean, kind, num_classes=classes, seed=seed, **params).sha256
    expected = expected_transition(kind, params, classes, np.bincount(clean, minlength=classes))
    assert expected is not None
    assert (expected[clean, noisy.labels] > 0).all()  # nothing impossible happens; flips are read off the clean labels
    absent = np.setdiff1d(np.arange(classes), clean)
    assert noisy.transition.shape == (classes, classes)
    assert (noisy.transition[absent] == np.eye(classes)[absent]).all()
    np.testing.assert_allclose(noisy.transition.sum(axis=1), 1)
    bound = _bound(clean, expected)
    share = noisy.realised_rate - (1 - expected[clean, clean]).mean()
    assert abs(share) <= bound
    if params.get("rate") == 0:
        assert (noisy.labels == clean).all()


def _bound(clean: np.ndarray, expected: np.ndarray) -> float:
    """Seven standard deviations of a share of independent flips, and half a sample a class for rounding."""
    wrong = 1 - expected[clean, clean]
    classes = len(np.unique(clean))
    return float(7 * np.sqrt((wrong * (1 - wrong)).sum()) / len(clean) + (classes + 8) / len(clean))


@SETTINGS
@given(labels(), RATES, st.integers(0, 2**32))
def test_exclusive_flips_exactly_and_never_to_the_clean_class(made, rate, seed):
    clean, classes = made
    noisy = inject(clean, "symmetric", num_classes=classes, seed=seed, rate=rate)
    assert noisy.flipped.sum() == exact_count(rate, len(clean))
    each = inject(clean, "symmetric", num_classes=classes, seed=seed, rate=rate, count="per_class")
    pair = inject(clean, "pairflip", num_classes=classes, seed=seed, rate=rate)
    for c in np.unique(clean):
        wanted = exact_count(rate, int((clean == c).sum()))
        assert each.flipped[clean == c].sum() == wanted
        assert pair.flipped[clean == c].sum() == wanted
        assert set(pair.labels[clean == c]) <= {c, (c + 1) % classes}


@SETTINGS
@given(labels(), st.integers(0, 2**32))
def test_full_rate_leaves_nothing_right(made, seed):
    clean, classes = made
    for kind in ("symmetric", "pairflip"):
        for count in ("exact", "independent"):
            assert inject(clean, kind, num_classes=classes, seed=seed, rate=1.0, count=count).flipped.all()


@SETTINGS
@given(labels(), RATES, RATES, st.sampled_from(["exact", "per_class", "independent"]), st.integers(0, 2**32))
def test_rates_are_nested(made, one, other, count, seed):
    clean, classes = made
    low, high = (
        inject(clean, "symmetric", num_classes=classes, seed=seed, rate=rate, count=count)
        for rate in sorted((one, other))
    )
    assert high.flipped[low.flipped].all()
    assert (high.labels[low.flipped] == low.labels[low.flipped]).all()


@SETTINGS
@given(st.data(), labels(), st.integers(0, 2**32))
def test_exact_matrices_are_met_to_a_sample(data, made, seed):
    clean, classes = made
    rows = np.random.default_rng(seed).dirichlet(np.ones(classes) * 0.3, classes)
    rows = np.where(rows < 1e-9, 0, rows)
    rows /= rows.sum(axis=1, keepdims=True)
    noisy = inject(clean, "matrix", num_classes=classes, seed=seed, matrix=rows.tolist())
    sizes = np.bincount(clean, minlength=classes)[:, None]
    assert (np.abs(noisy.transition - rows) * sizes < 1 + 1e-6).all()
