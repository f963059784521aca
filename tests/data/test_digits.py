"""scikit-learn's digits."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from noisybench.data import DataFolder, load_dataset


def test_digits(tmp_path):
    data = load_dataset({"name": "digits"}, DataFolder(tmp_path))
    assert data.train_images.shape == (1297, 1, 8, 8)
    assert data.test_images.shape == (500, 1, 8, 8)
    assert np.bincount(data.test_labels).tolist() == [50] * 10
    assert data.train_images.min() == 0
    assert data.train_images.max() == 255
    assert not data.original_pixels
    assert data.comparable_as is None


def test_every_digit_is_in_exactly_one_part(tmp_path):
    data = load_dataset({"name": "digits"}, DataFolder(tmp_path))
    mine = np.concatenate([data.train_images, data.test_images])[:, 0]
    labels = np.concatenate([data.train_labels, data.test_labels])
    theirs = load_digits()
    key = lambda image, label: (np.rint(image.astype(float) * 16 / 255).astype(int).tobytes(), int(label))  # noqa: E731
    assert sorted(map(key, mine, labels)) == sorted(map(key, theirs.images * 255 / 16, theirs.target))


def test_the_split_never_changes(tmp_path):
    # The value was computed once, when the split was decided: it must never move, or old records become stale.
    data = load_dataset({"name": "digits"}, DataFolder(tmp_path))
    assert data.fingerprint == "1fdb8f47eb8ba24b26ec8d3ca1d3c51cf9bdee7af972ca726a207f826923bd1f"
