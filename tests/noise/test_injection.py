"""``inject`` and everything that must hold for every kind of noise."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from noisybench import registry
from noisybench.errors import DataError, ParameterError, UnknownName
from noisybench.noise import build_noise, inject, measured_transition

CLEAN = np.repeat(np.arange(10), 100)
MATRIX = (0.7 * np.eye(10) + 0.3 * np.roll(np.eye(10), 3, axis=1)).tolist()
EXAMPLES = {"clean": {}, "matrix": {"matrix": MATRIX}}
KINDS = registry.names("noise")


def params_of(kind: str, rate: float = 0.4) -> dict:
    """Parameters to try a kind with: those listed above, otherwise a rate and defaults."""
    return EXAMPLES.get(kind, {"rate": rate})


def test_kinds():
    assert {"asymmetric", "clean", "matrix", "pairflip", "symmetric"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_describes_itself(kind):
    noisy = inject(CLEAN, kind, num_classes=10, seed=0, **params_of(kind))
    assert noisy.kind == kind
    assert noisy.seed == 0
    assert noisy.labels.dtype == np.int64
    assert noisy.labels.shape == CLEAN.shape
    assert set(noisy.labels) <= set(range(10))
    assert (noisy.flipped == (noisy.labels != CLEAN)).all()
    assert noisy.realised_rate == noisy.flipped.mean()
    counts = np.zeros((10, 10))
    for true, label in zip(CLEAN, noisy.labels, strict=True):
        counts[true, label] += 1
    assert noisy.transition == pytest.approx(counts / 100)
    words = b"".join(int(label).to_bytes(8, "little") for label in noisy.labels)
    assert noisy.sha256 == hashlib.sha256(words).hexdigest()
    assert registry.get("noise", kind).summary


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_pure(kind):
    before = CLEAN.copy()
    hashes = {inject(CLEAN, kind, num_classes=10, seed=3, **params_of(kind)).sha256 for _ in range(3)}
    assert len(hashes) == 1
    assert (before == CLEAN).all()
    other = inject(CLEAN, kind, num_classes=10, seed=4, **params_of(kind))
    assert (other.sha256 in hashes) == (kind == "clean")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_the_type_of_the_labels_does_not_matter(kind, dtype):
    want = inject(CLEAN, kind, num_classes=10, seed=0, **params_of(kind))
    assert inject(CLEAN.astype(dtype), kind, num_classes=10, seed=0, **params_of(kind)).sha256 == want.sha256


@pytest.mark.parametrize("kind", [k for k in KINDS if "rate" in registry.get("noise", k).keys])
def test_rate_zero_is_clean_and_rates_are_nested(kind):
    noisy = {rate: inject(CLEAN, kind, num_classes=10, seed=0, rate=rate) for rate in (0.0, 0.2, 0.6)}
    assert (noisy[0.0].labels == CLEAN).all()
    assert noisy[0.0].realised_rate == 0
    assert noisy[0.2].rate == 0.2
    low, high = noisy[0.2].flipped, noisy[0.6].flipped
    assert high[low].all()  # what is flipped at a low rate is flipped at a high one, to the same class
    assert (noisy[0.2].labels[low] == noisy[0.6].labels[low]).all()


@pytest.mark.parametrize("kind", [k for k in KINDS if "rate" in registry.get("noise", k).keys])
@pytest.mark.parametrize("rate", [-0.1, 1.2, "0.4", None, True])
def test_a_rate_is_a_share(kind, rate):
    with pytest.raises(ParameterError) as caught:
        inject(CLEAN, kind, num_classes=10, seed=0, rate=rate)
    assert caught.value.key == "rate"


def test_streams_never_change():
    # Computed once, when the streams were decided. If this fails, every published label set of this package moves.
    noisy = inject(np.arange(100) % 10, "symmetric", num_classes=10, seed=0, rate=0.4)
    assert noisy.sha256 == "c8eef9586d8c61cecce84e77d95d4597ff6f4822541f33e0e16b2b6c4c7bef24"


def test_seeds_reach_far():
    assert inject(CLEAN, "symmetric", num_classes=10, seed=2**62, rate=0.4).realised_rate == 0.4


def test_clean():
    noisy = inject(CLEAN, "clean", num_classes=10, seed=0)
    assert (noisy.labels == CLEAN).all()
    assert noisy.rate is None
    assert noisy.realised_rate == 0
    assert (noisy.transition == np.eye(10)).all()


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([[0, 1]], 2, "1-D"),
        ([], 2, "non-empty"),
        ([0.0, 1.0], 2, "integers, not float64"),
        ([0, 2], 2, r"must be 0 \.\. 1, not 0 \.\. 2"),
        ([-1, 1], 2, r"not -1 \.\. 1"),
        ([0, 0], 1, "at least 2 classes"),
    ],
)
def test_labels_that_are_none(labels, classes, message):
    with pytest.raises(DataError, match=message):
        inject(np.array(labels), "clean", num_classes=classes, seed=0)


def test_unknown_kind_and_parameter():
    with pytest.raises(UnknownName, match="did you mean 'symmetric'"):
        inject(CLEAN, "symetric", num_classes=10, seed=0)
    with pytest.raises(ParameterError, match="did you mean 'rate'"):
        inject(CLEAN, "symmetric", num_classes=10, seed=0, rat=0.2)
    with pytest.raises(ParameterError, match="needs 'rate'"):
        build_noise("symmetric")


def test_build_noise():
    make = build_noise("symmetric", rate=0.2)
    want = inject(CLEAN, "symmetric", num_classes=10, seed=5, rate=0.2)
    assert make(CLEAN, num_classes=10, seed=5).sha256 == want.sha256


def test_a_kind_cannot_change_what_flips_are_measured_against():
    def careless(clean, num_classes, draws, images):
        clean[:] = 0
        return clean

    registry.noise("careless")(careless)
    try:
        noisy = inject(CLEAN, "careless", num_classes=10, seed=0)
    finally:
        del registry._components["noise", "careless"]
    assert noisy.realised_rate == 0.9


def test_measured_transition_of_a_class_without_samples():
    got = measured_transition(np.array([0, 0, 0, 0, 2]), np.array([0, 1, 1, 2, 2]), 3)
    assert got.tolist() == [[0.25, 0.5, 0.25], [0, 1, 0], [0, 0, 1]]


def test_save(tmp_path):
    noisy = inject(CLEAN, "symmetric", num_classes=10, seed=0, rate=0.4)
    file = noisy.save(tmp_path / "new" / "labels.npz")
    with np.load(file, allow_pickle=False) as archive:
        assert (archive["labels"] == noisy.labels).all()
        assert (archive["clean"] == CLEAN).all()
        assert (archive["flipped"] == noisy.flipped).all()
        assert (archive["transition"] == noisy.transition).all()
        metadata = json.loads(str(archive["metadata"]))
    assert metadata["params"] == {"rate": 0.4, "flip": "exclusive", "count": "exact"}
    assert (metadata["kind"], metadata["seed"], metadata["sha256"]) == ("symmetric", 0, noisy.sha256)
    first = file.read_bytes()
    assert noisy.save(file).read_bytes() == first
    assert [p.name for p in file.parent.iterdir()] == ["labels.npz"]


def test_save_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    noisy = inject(CLEAN, "clean", num_classes=10, seed=0)
    with pytest.raises(DataError, match="cannot write"):
        noisy.save(tmp_path / "file" / "labels.npz")
