"""``inject`` and everything that must hold for every kind of noise."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from noisybench import registry
from noisybench.errors import DataError, ParameterError, UnknownName
from noisybench.noise import Corrupted, build_noise, inject, measured_transition

CLEAN = np.repeat(np.arange(10), 100)
MATRIX = (0.75 * np.eye(10) + 0.25 * np.roll(np.eye(10), 3, axis=1)).tolist()
STEPS = [{"kind": "asymmetric", "rate": 0.4}, {"kind": "symmetric", "rate": 0.2}]
KINDS = registry.names("noise")
SEEDLESS = {"clean", "file", "human"}
RATED = [k for k in KINDS if "rate" in registry.get("noise", k).keys and k != "pmd"]


def test_kinds():
    built_in = "asymmetric block clean compose file human instance matrix pairflip pmd symmetric"
    assert set(built_in.split()) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_describes_itself(kind, arguments_of):
    noisy = inject(CLEAN, kind, num_classes=10, seed=0, **arguments_of(kind))
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
def test_every_kind_is_pure(kind, arguments_of):
    before = CLEAN.copy()
    hashes = {inject(CLEAN, kind, num_classes=10, seed=3, **arguments_of(kind)).sha256 for _ in range(3)}
    assert len(hashes) == 1
    assert (before == CLEAN).all()
    other = inject(CLEAN, kind, num_classes=10, seed=4, **arguments_of(kind))
    assert (other.sha256 in hashes) == (kind in SEEDLESS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_the_type_of_the_labels_does_not_matter(kind, dtype, arguments_of):
    want = inject(CLEAN, kind, num_classes=10, seed=0, **arguments_of(kind))
    assert inject(CLEAN.astype(dtype), kind, num_classes=10, seed=0, **arguments_of(kind)).sha256 == want.sha256


@pytest.mark.parametrize("kind", RATED)
def test_rate_zero_is_clean_and_rates_are_nested(kind, arguments_of):
    noisy = {
        rate: inject(CLEAN, kind, num_classes=10, seed=0, **arguments_of(kind, rate=rate)) for rate in (0.0, 0.2, 0.6)
    }
    assert (noisy[0.0].labels == CLEAN).all()
    assert noisy[0.0].realised_rate == 0
    assert noisy[0.2].rate == 0.2
    low, high = noisy[0.2].flipped, noisy[0.6].flipped
    assert high[low].all()  # what is flipped at a low rate is flipped at a high one, to the same class
    assert (noisy[0.2].labels[low] == noisy[0.6].labels[low]).all()


@pytest.mark.parametrize("kind", RATED)
@pytest.mark.parametrize("rate", [-0.1, 1.2, "0.4", None, True])
def test_a_rate_is_a_share(kind, rate, arguments_of):
    with pytest.raises(ParameterError) as caught:
        inject(CLEAN, kind, num_classes=10, seed=0, **arguments_of(kind, rate=rate))
    assert caught.value.key == "rate"


GOLDEN = [
    ("symmetric", {"rate": 0.4}, "c8eef9586d8c61cecce84e77d95d4597ff6f4822541f33e0e16b2b6c4c7bef24"),
    (
        "symmetric",
        {"rate": 0.4, "flip": "inclusive"},
        "27d063ca394649e32cc133026641b1b9ea00e2c6823cd0ae5b4410e8d1266659",
    ),
    (
        "symmetric",
        {"rate": 0.4, "count": "independent"},
        "6eb35ec9a388848b19fba9815e683fd4900a73637d9b89bd36ee1d8c057e6090",
    ),
    (
        "symmetric",
        {"rate": 0.4, "count": "per_class"},
        "e723651d7ba85bca7fe33d2de82e60e1014f639c3a20d43a3d1abed4e5216d54",
    ),
    (
        "symmetric",
        {"rate": 0.4, "targets": "frequency"},
        "1c42718e8b23d0f258d4aaa230b5bc3998a1c178a839cf9e6d713443eef2d5eb",
    ),
    ("asymmetric", {"rate": 0.4}, "f3f9c554e98544451f934066ce03001a553b72f00acf2f27595d045aed083521"),
    (
        "asymmetric",
        {"rate": 0.4, "count": "independent"},
        "9926acca942b5315c85794f0468858c7a3eb2c4d2d3cec065eaf8b817cf068ed",
    ),
    (
        "asymmetric",
        {"rate": 0.4, "count": "whole_set"},
        "1e057a217099500d37e41545c82e39f4b66ab059021445dec5b9b358210eacc2",
    ),
    (
        "asymmetric",
        {"rate": 0.4, "mapping": "next"},
        "48652717295f22f4b6670627a902bec196672b7797aeba3fd61fb22104a4fb3a",
    ),
    ("pairflip", {"rate": 0.4}, "48652717295f22f4b6670627a902bec196672b7797aeba3fd61fb22104a4fb3a"),
    (
        "pairflip",
        {"rate": 0.4, "count": "independent"},
        "a5f5ce7581f0b28e2986901059f836379ab8b49d0f19809782994173d58e9be7",
    ),
    ("matrix", {"matrix": MATRIX}, "952762bdf61274c75b20425637d2df3b30fffae9fc361819838c3fafa154eae4"),
    (
        "matrix",
        {"matrix": MATRIX, "count": "independent"},
        "0c4c73f9269c7ebc3093e4633dc86e8636e2823780fb79791e1190c2c46fdf0f",
    ),
    (
        "block",
        {"rate": 0.4, "groups": [[0, 1, 2], [3, 4]]},
        "7957f02a366886a603feb9ad606aab4c9815319423262316fb862b53364f2cc3",
    ),
    (
        "block",
        {"rate": 0.4, "groups": [[0, 1, 2], [3, 4]], "flip": "inclusive", "count": "independent"},
        "7411df3dac39fdc98fdc356d28fb9089010054221b3782a9e5c165cbb1c149d2",
    ),
    ("compose", {"steps": STEPS}, "7def1a96a9d021a1c04f1515486ad7a63b1a9433ae5f88d39d5f21a62e18c046"),
]


@pytest.mark.parametrize(
    ("kind", "params", "sha256"), GOLDEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_streams_never_change(kind, params, sha256):
    # Computed once, when the streams were decided. If this fails, every published label set of this package moves.
    clean = np.concatenate([np.arange(100) % 10, np.arange(50) % 3])
    if sha256.startswith("c8eef"):
        clean = clean[:100]
    assert inject(clean, kind, num_classes=10, seed=0, **params).sha256 == sha256


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


def test_images_and_index_belong_to_the_labels():
    with pytest.raises(DataError, match="3 images for 1000 labels"):
        inject(CLEAN, "clean", num_classes=10, seed=0, images=np.zeros((3, 1, 2, 2), np.uint8))
    for index in (np.arange(3), np.arange(1000) - 1, np.zeros(1000)):
        with pytest.raises(DataError, match="one place in the training set for each of 1000 labels"):
            inject(CLEAN, "clean", num_classes=10, seed=0, index=index)


def test_what_a_kind_measured_is_kept():
    def measuring(clean, num_classes, draws, source):
        return Corrupted(clean, {"share": np.float64(0.5)})

    registry.noise("measuring")(measuring)
    try:
        noisy = inject(CLEAN, "measuring", num_classes=10, seed=0)
    finally:
        del registry._components["noise", "measuring"]
    assert noisy.details == {"share": 0.5}
    assert noisy.num_classes == 10


def test_build_noise():
    make = build_noise("symmetric", rate=0.2)
    want = inject(CLEAN, "symmetric", num_classes=10, seed=5, rate=0.2)
    assert make(CLEAN, num_classes=10, seed=5).sha256 == want.sha256


def test_a_kind_cannot_change_what_flips_are_measured_against():
    def careless(clean, num_classes, draws, source):
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
    assert metadata["params"] == {
        "rate": 0.4,
        "flip": "exclusive",
        "count": "exact",
        "targets": "uniform",
    }
    assert (metadata["kind"], metadata["seed"], metadata["sha256"]) == ("symmetric", 0, noisy.sha256)
    first = file.read_bytes()
    assert noisy.save(file).read_bytes() == first
    assert [p.name for p in file.parent.iterdir()] == ["labels.npz"]


def test_save_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    noisy = inject(CLEAN, "clean", num_classes=10, seed=0)
    with pytest.raises(DataError, match="cannot be written"):
        noisy.save(tmp_path / "file" / "labels.npz")
