"""Made-up images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from noisybench.data import DataFolder, load_dataset
from noisybench.errors import DataError


def load(**params):
    return load_dataset({"name": "synthetic", **params}, DataFolder(Path("nowhere")))


def test_shape_balance_and_seed():
    params = {"channels": 2, "height": 7, "width": 1, "num_classes": 3, "train_size": 31, "test_size": 9}
    data = load(**params)
    assert data.train_images.shape == (31, 2, 7, 1)
    assert np.bincount(data.train_labels).tolist() == [11, 10, 10]
    assert np.bincount(data.test_labels).tolist() == [3, 3, 3]
    assert data.fingerprint == load(**params).fingerprint
    assert data.fingerprint != load(**params, seed=1).fingerprint


def test_classes_can_be_learnt():
    data = load(train_size=500, test_size=200, height=8, width=8)
    flat = data.train_images.reshape(500, -1).astype(float)
    means = np.stack([flat[data.train_labels == c].mean(axis=0) for c in range(10)])
    distance = ((data.test_images.reshape(200, 1, -1) - means) ** 2).sum(axis=2)
    assert (distance.argmin(axis=1) == data.test_labels).mean() > 0.9  # nearest class mean


def test_images_of_a_class_differ():
    data = load(train_size=20, test_size=10)
    images = data.train_images[data.train_labels == 4]
    assert (images[0] != images[1]).mean() > 0.5


def test_every_class_needs_an_image():
    with pytest.raises(DataError, match="at least num_classes"):
        load(num_classes=20, train_size=10)


def test_the_data_never_changes():
    # Computed once, when the data was decided: it must never move, on any platform or numpy version.
    data = load(channels=1, height=5, width=6, num_classes=4, train_size=40, test_size=12)
    assert data.fingerprint == "5f5cebc0a14a83f470628d26693c48dad208f7853a6318c889bf4fe23b10dce8"
