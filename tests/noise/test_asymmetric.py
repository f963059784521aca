"""Asymmetric noise: the CIFAR maps and one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.noise import inject
from noisybench.noise.asymmetric import CIFAR10_MAP, CIFAR100_SUPERCLASSES, cifar100_map

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "noise_transition.json").read_text())
PUBLISHED = [c for c in REFERENCE["transition_matrices"] if c["name"] == "asymmetric_cifar10"]
MNIST = next(c for c in REFERENCE["transition_matrices"] if c["name"] == "asymmetric_mnist")
CLEAN = np.repeat(np.arange(10), 5000)

# The coarse label of each fine label 0 .. 99, as in the published CIFAR-100 files.
COARSE = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
]  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda c: f"{c['rate']}-{c['source'].split('@')[0]}")
def test_exact_equals_the_published_matrices(case):
    noisy = inject(CLEAN, "asymmetric", num_classes=10, seed=0, rate=case["rate"])
    assert noisy.transition == pytest.approx(np.array(case["T"]), abs=1e-12)  # 5,000 a class: counts are whole
    assert noisy.realised_rate == pytest.approx(case["rate"] / 2, abs=1e-12)
    assert noisy.rate == case["rate"]


@pytest.mark.parametrize("case", PUBLISHED[:3], ids=lambda c: c["source"].split("@")[0])
def test_independent_matches_the_published_matrices(case):
    noisy = inject(CLEAN, "asymmetric", num_classes=10, seed=0, rate=case["rate"], count="independent")
    assert noisy.transition == pytest.approx(np.array(case["T"]), abs=5 * (0.16 / 5000) ** 0.5)
    assert ((noisy.transition > 0) == (np.array(case["T"]) > 0)).all()


def test_cat_and_dog_are_not_flipped_twice():
    noisy = inject(CLEAN, "asymmetric", num_classes=10, seed=0, rate=1.0)
    assert set(noisy.labels[CLEAN == 3]) == {5}
    assert set(noisy.labels[CLEAN == 5]) == {3}
    chain = inject(np.arange(3), "asymmetric", num_classes=3, seed=0, rate=1.0, mapping={0: 1, 1: 2})
    assert chain.labels.tolist() == [1, 2, 2]  # 0 does not go on to 2


def test_map_of_dividemix():
    assert {**{c: c for c in range(10)}, **CIFAR10_MAP} == {
        int(a): b for a, b in REFERENCE["dividemix"]["asymmetric_mapping"].items()
    }


def test_cifar100_superclasses():
    assert len(CIFAR100_SUPERCLASSES) == 20
    assert {len(names.split()) for names in CIFAR100_SUPERCLASSES.values()} == {5}
    names = sorted(name for group in CIFAR100_SUPERCLASSES.values() for name in group.split())
    assert len(set(names)) == 100
    assert [names[i] for i in (0, 1, 47, 99)] == ["apple", "aquarium_fish", "maple_tree", "worm"]
    coarse = sorted(CIFAR100_SUPERCLASSES)  # superclasses are numbered in alphabetical order, too
    ours = [next(i for i, group in enumerate(coarse) if name in CIFAR100_SUPERCLASSES[group].split()) for name in names]
    assert ours == COARSE


def test_cifar100_goes_to_the_next_class_of_the_superclass_in_a_circle():
    mapping = cifar100_map()
    assert sorted(mapping) == sorted(mapping.values()) == list(range(100))
    for source, target in mapping.items():
        assert COARSE[source] == COARSE[target]
        group = [c for c in range(100) if COARSE[c] == COARSE[source]]
        assert target == group[(group.index(source) + 1) % 5]
    noisy = inject(np.repeat(np.arange(100), 10), "asymmetric", num_classes=100, seed=0, rate=0.4)
    assert noisy.realised_rate == 0.4
    assert all(row[mapping[c]] == 0.4 for c, row in enumerate(noisy.transition))


def test_own_mapping_is_that_of_mnist():
    mapping = {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}
    noisy = inject(CLEAN, "asymmetric", num_classes=10, seed=0, rate=0.4, mapping=mapping)
    assert noisy.transition == pytest.approx(np.array(MNIST["T"]), abs=1e-12)


def test_mapping_survives_json():
    given, read = {2: 7, 3: 8}, {"2": 7, "3": 8}
    assert registry.get("noise", "asymmetric").validate({"rate": 0.4, "mapping": read})["mapping"] == given


def test_counts_of_each_class_are_rounded_half_up():
    clean = np.repeat([2, 4, 9, 0], [7, 5, 4, 30])  # 2.8, 2.0, 1.6
    noisy = inject(clean, "asymmetric", num_classes=10, seed=0, rate=0.4)
    assert [int(noisy.flipped[clean == c].sum()) for c in (2, 4, 9, 0)] == [3, 2, 2, 0]


@pytest.mark.parametrize(
    ("classes", "mapping", "message"),
    [
        (7, None, "no usual map for 7 classes"),
        (100, "cifar10", "'cifar10' is for 10 classes, the data has 100"),
        (3, {0: 3}, "0 -> 3 names a class that is not there"),
        (3, {1: 1}, "at least one class to another"),
        (3, {}, "at least one class to another"),
        (3, {-1: 1}, "greater than or equal to 0"),
        (3, "cifar", "'cifar10', 'cifar100' or 'next'"),
        (3, {"cat": 1}, "integer"),
    ],
)
def test_mappings_that_cannot_be(classes, mapping, message):
    with pytest.raises(ParameterError, match=message) as caught:
        inject(np.arange(3), "asymmetric", num_classes=classes, seed=0, rate=0.4, mapping=mapping)
    assert caught.value.key == "mapping"


def test_the_next_of_all_classes_is_pair_flip():
    clean = np.repeat(np.arange(100), 10)
    for count in ("exact", "independent"):
        other = inject(clean, "asymmetric", num_classes=100, seed=0, rate=0.4, mapping="next", count=count)
        pair = inject(clean, "pairflip", num_classes=100, seed=0, rate=0.4, count=count)
        assert other.sha256 == pair.sha256
    assert inject(np.arange(3), "asymmetric", num_classes=3, seed=0, rate=1.0, mapping="next").labels.tolist() == [
        1,
        2,
        0,
    ]


def test_whole_set_picks_a_share_of_all_samples():
    # 200 of 500 samples are picked; 300 belong to mapped classes, so about 120 flip, and not 0.4 n_c of each.
    clean = np.repeat([2, 3, 4, 0], [100, 100, 100, 200])
    noisy = inject(clean, "asymmetric", num_classes=10, seed=0, rate=0.4, count="whole_set")
    assert abs(noisy.flipped.sum() - 120) < 5 * 7  # hypergeometric, standard deviation 7
    assert len({int(noisy.flipped[clean == c].sum()) for c in (2, 3, 4)}) > 1
    everything = inject(clean, "asymmetric", num_classes=10, seed=0, rate=1.0, count="whole_set")
    assert everything.flipped.sum() == 300
