"""The 8x8 digits that come with scikit-learn: real images, no download."""

from __future__ import annotations

import numpy as np

from noisybench.data.dataset import DataFolder, Dataset
from noisybench.registry import dataset
from noisybench.seeding import Draws

TEST_PER_CLASS = 50


@dataset("digits", cite="alpaydin1998optdigits", like=((1, 8, 8), 10))
def digits(folder: DataFolder) -> Dataset:
    """1,797 handwritten digits of 8x8 pixels, ten classes (the test part of UCI's Optdigits, as in scikit-learn).

    uint8 ``[N, 1, 8, 8]``, grey values 0 .. 16 scaled to 0 .. 255. 1,297 for training and 500 for test, 50 a class:
    a fixed split of our own, there is no official one.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = ((bunch.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    test[Draws(0, "data", "digits").choose_within(labels, np.full(10, TEST_PER_CLASS))] = True
    return Dataset(
        name="digits",
        id="digits",
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple("0123456789"),
    )
