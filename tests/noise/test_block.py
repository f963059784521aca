"""Block noise: flips stay inside the group."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.errors import ParameterError
from noisybench.noise import inject
from noisybench.noise.block import cifar100_groups

CLEAN = np.repeat(np.arange(6), 3000)
GROUPS = [[0, 4, 2], [5, 1]]


def test_uniform_inside_the_group():
    noisy = inject(CLEAN, "block", num_classes=6, seed=0, rate=0.4, groups=GROUPS)
    want = np.eye(6)
    for group, share in (([0, 4, 2], 0.2), ([5, 1], 0.4)):
        want[np.ix_(group, group)] = share
        want[group, group] = 0.6
    assert noisy.transition == pytest.approx(want, abs=0.04)
    assert np.diag(noisy.transition) == pytest.approx([0.6, 0.6, 0.6, 1, 0.6, 0.6], abs=1e-12)  # exact per class
    assert (noisy.transition[want == 0] == 0).all()


def test_inclusive_draws_the_own_class_too():
    noisy = inject(CLEAN, "block", num_classes=6, seed=0, rate=1.0, groups=GROUPS, flip="inclusive")
    assert np.diag(noisy.transition) == pytest.approx([1 / 3, 1 / 2, 1 / 3, 1, 1 / 3, 1 / 2], abs=0.05)


@pytest.mark.parametrize("count", ["whole_set", "independent"])
def test_other_counts(count):
    noisy = inject(CLEAN, "block", num_classes=6, seed=0, rate=0.4, groups=[[0, 1, 2, 3, 4, 5]], count=count)
    assert noisy.realised_rate == pytest.approx(0.4, abs=1e-12 if count == "whole_set" else 0.02)
    assert len(set(np.diag(noisy.transition))) > 1


def test_superclasses_of_cifar100():
    groups = cifar100_groups()
    assert sorted(c for group in groups for c in group) == list(range(100))
    assert groups[0] == [4, 30, 55, 72, 95]  # aquatic mammals: beaver, dolphin, otter, seal, whale
    noisy = inject(np.repeat(np.arange(100), 20), "block", num_classes=100, seed=0, rate=0.5, groups="cifar100")
    superclass = {c: i for i, group in enumerate(groups) for c in group}
    assert noisy.realised_rate == 0.5
    assert all(superclass[a] == superclass[b] for a, b in zip(noisy.clean.tolist(), noisy.labels.tolist(), strict=True))


def test_a_class_alone_in_its_group_keeps_its_labels():
    for flip in ("exclusive", "inclusive"):
        noisy = inject(np.arange(3), "block", num_classes=3, seed=0, rate=1.0, groups=[[0, 1], [2]], flip=flip)
        assert noisy.labels[2] == 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 1], [1, 2]], "at most once"),
        ([[0], [1]], "at least two classes"),
        ([[0, 6]], r"no class 6; classes are 0 \.\. 5"),
        ("cifar100", "for 100 classes, the data has 6"),
        ([[0, -1]], "greater than or equal to 0"),
        ("cifar10", "cifar100"),
    ],
)
def test_groups_that_cannot_be(groups, message):
    with pytest.raises(ParameterError, match=message) as caught:
        inject(CLEAN, "block", num_classes=6, seed=0, rate=0.4, groups=groups)
    assert caught.value.key == "groups"
