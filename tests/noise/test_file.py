"""The kind that takes labels from a file."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.errors import DataError
from noisybench.noise import inject

CLEAN = np.array([0, 1, 2, 0, 1, 2])


def written(tmp_path, labels, **arrays):
    np.savez(tmp_path / "a.npz", labels=np.asarray(labels), **arrays)
    return str(tmp_path / "a.npz")


def test_rate_and_matrix_are_measured(tmp_path):
    noisy = inject(CLEAN, "file", num_classes=3, seed=7, path=written(tmp_path, [0, 1, 1, 1, 1, 2]))
    assert noisy.labels.tolist() == [0, 1, 1, 1, 1, 2]
    assert noisy.rate is None
    assert noisy.realised_rate == pytest.approx(2 / 6)
    assert noisy.transition.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]]


def test_a_subset_takes_its_labels(tmp_path):
    path = written(tmp_path, [0, 1, 1, 1, 1, 2], clean=CLEAN)
    noisy = inject(CLEAN[[2, 5]], "file", num_classes=3, seed=0, path=path, index=np.array([2, 5]))
    assert noisy.labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "has 3 entries, the data 6"),
        ([0, 1, 2, 3, 1, 2], r"label 3 at 3 is outside 0 \.\. 2"),
        ([0, 1, 2, 0, -1, 2], "label -1 at 4 is outside"),
        ([0.0, 1, 2, 0, 1, 2], "whole numbers"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        inject(CLEAN, "file", num_classes=3, seed=0, path=written(tmp_path, labels))


def test_labels_made_for_other_data(tmp_path):
    path = written(tmp_path, CLEAN, clean=np.array([0, 1, 2, 0, 2, 1]))
    with pytest.raises(DataError, match="clean labels differ from the data set's at 2 of 6 places"):
        inject(CLEAN, "file", num_classes=3, seed=0, path=path)
