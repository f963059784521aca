"""Data sets in .npz files, good and bad."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.data import DataFolder, is_available, load_dataset
from noisybench.errors import DataError

X = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3).astype(np.uint8)  # four images, 5 high, 6 wide, RGB
GOOD = {"x_train": X, "y_train": np.array([0, 1, 1, 0]), "x_test": X[:2], "y_test": np.array([1, 0], np.int32)}


def load(tmp_path, arrays, **params):
    np.savez(tmp_path / "cells.npz", **arrays)
    return load_dataset({"name": "npz", "path": "cells.npz", **params}, DataFolder(tmp_path))


def test_nhwc(tmp_path):
    data = load(tmp_path, GOOD)
    assert data.id == "cells"
    assert data.shape == (3, 5, 6)
    assert data.train_images[2, 1, 3, 4] == X[2, 3, 4, 1]
    assert data.test_labels.dtype == np.int64
    assert data.class_names == ("0", "1")
    assert not data.original_pixels
    assert data.comparable_as is None
    assert is_available({"name": "npz", "path": "cells.npz"}, DataFolder(tmp_path))


def test_nchw_and_grey_give_the_same_images(tmp_path):
    want = load(tmp_path, GOOD)
    planes = {**GOOD, "x_train": X.transpose(0, 3, 1, 2), "x_test": X[:2].transpose(0, 3, 1, 2)}
    assert load(tmp_path, planes).fingerprint == want.fingerprint
    grey = {**GOOD, "x_train": X[..., 0], "x_test": X[:2, ..., 0]}
    assert load(tmp_path, grey).shape == (1, 5, 6)


def test_ambiguous_layout(tmp_path):
    both = {**GOOD, "x_train": X[:, :3, :, :], "x_test": X[:2, :3, :, :]}  # [4, 3, 6, 3]
    assert load(tmp_path, both).shape == (3, 3, 6)
    assert load(tmp_path, both, layout="nchw").shape == (3, 6, 3)
    two = {**GOOD, "x_train": X[..., :2], "x_test": X[:2, ..., :2]}
    with pytest.raises(DataError, match="say 'layout: nhwc' or 'layout: nchw'"):
        load(tmp_path, two)
    assert load(tmp_path, two, layout="nhwc").shape == (2, 5, 6)


def test_id_names_and_comparison(tmp_path):
    data = load(tmp_path, {**GOOD, "class_names": np.array(["cat", "dog"])}, id="mine")
    assert data.id == "mine"
    assert data.class_names == ("cat", "dog")
    with pytest.raises(DataError, match="'as: cifar10' needs 10 classes and images"):
        load(tmp_path, GOOD, **{"as": "cifar10"})
    x = np.zeros((10, 32, 32, 3), np.uint8)
    full = {"x_train": x, "y_train": np.arange(10), "x_test": x, "y_test": np.arange(10)}
    data = load(tmp_path, full, **{"as": "cifar10"})
    assert data.comparable_as == "cifar10"
    assert not data.original_pixels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": None}, "no array 'y_test'"),
        ({"x_train": X.astype(np.float32)}, "x_train must be uint8 .* not float32"),
        ({"x_test": X[0]}, "test images .* not alike|must be alike|one an image"),
        ({"x_train": X[0, 0]}, r"\[N, H, W\]"),
        ({"y_train": np.array([0, 1, 1])}, "one an image"),
        ({"y_train": np.array([[0], [1], [1], [0]])}, "1-D array of integers.*ravel it"),
        ({"y_train": np.array([0.0, 1, 1, 0])}, "integers, not float64"),
        ({"y_train": np.array([1, 2, 2, 1])}, "class 0 .* no training image"),
        ({"y_train": np.array([0, -1, 1, 0])}, r"must be 0 \.\. 1, not -1"),
        ({"y_test": np.array([0, 2])}, r"must be 0 \.\. 1, not 0 \.\. 2"),
        ({"y_test": np.array([0, 0])}, "class 1 .* no test image"),
        ({"x_train": np.array([{}, {}, {}, {}])}, "Python objects"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, message):
    arrays = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(DataError, match=message):
        load(tmp_path, arrays)


@pytest.mark.parametrize("cut", [0, 30, 400, -40])
def test_files_that_are_no_npz(tmp_path, cut):
    file = tmp_path / "cells.npz"
    np.savez(file, **GOOD)
    content = file.read_bytes()
    file.write_bytes(content[:cut])
    with pytest.raises(DataError, match=r"cells\.npz"):
        load_dataset({"name": "npz", "path": "cells.npz"}, DataFolder(tmp_path))


def test_damaged_inside(tmp_path):
    file = tmp_path / "cells.npz"
    np.savez_compressed(file, **GOOD)
    content = bytearray(file.read_bytes())
    content[80:120] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset({"name": "npz", "path": "cells.npz"}, DataFolder(tmp_path))


def test_missing_file_and_folder_instead(tmp_path):
    with pytest.raises(DataError, match=r"'none\.npz' does not exist"):
        load_dataset({"name": "npz", "path": "none.npz"}, DataFolder(tmp_path))
    (tmp_path / "cells.npz").mkdir()
    with pytest.raises(DataError, match=r"cells\.npz"):
        load_dataset({"name": "npz", "path": "cells.npz"}, DataFolder(tmp_path))
