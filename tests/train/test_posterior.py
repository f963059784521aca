"""The posterior of PMD noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from noisybench.data import DataFolder, Dataset, prepare
from noisybench.train.posterior import record_posterior

MLP = {"name": "mlp", "width": 32}


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    return prepare({"name": "digits", "train_subset": 200}, DataFolder(tmp_path))


def test_every_image_has_a_row_and_nine_in_ten_are_trained_on(digits: Dataset) -> None:
    seen: list[float] = []
    settings = {"epochs": 8, "lr": 0.05, "batch_size": 32, "augment": []}
    found = record_posterior(digits, MLP, observe=lambda e, loss: seen.append(loss), **settings)
    assert found.eta.shape == (200, 10)
    assert found.eta.dtype == np.float32
    assert found.eta.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert found.trained.sum() == 180
    assert np.bincount(digits.train_labels[found.trained]).tolist() == [18] * 10
    assert len(seen) == 8
    assert seen[-1] < seen[0]
    assert found.accuracy > 0.5  # the tenth is a guess
    held = ~found.trained
    assert (found.eta.argmax(axis=1) == digits.train_labels)[held].mean() > 0.4  # these rows are predictions too
    shifted = record_posterior(digits, MLP, epochs=8, lr=0.05, batch_size=32)  # crop and flip: on 8 x 8 hard to read
    assert shifted.accuracy < found.accuracy
    again = record_posterior(digits, MLP, **settings)
    assert (again.eta == found.eta).all()
    other = record_posterior(digits, MLP, seed=1, **settings)
    assert (other.trained != found.trained).any()


def test_all_of_the_training_set(digits: Dataset) -> None:
    found = record_posterior(digits, MLP, epochs=1, share=1.0)
    assert found.trained.all()
