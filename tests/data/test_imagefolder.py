"""Folders of image files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noisybench.data import DataFolder, is_available, load_dataset
from noisybench.errors import DataError

RNG = np.random.default_rng(0)  # makes test images only


def write(path, height=5, width=4, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, 3) if mode == "RGB" else (height, width), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def load(tmp_path, **params):
    return load_dataset({"name": "imagefolder", "path": "pets", **params}, DataFolder(tmp_path))


@pytest.fixture
def pets(tmp_path):
    """Two classes; training has two dogs and a cat, test one each. Returns what was written."""
    root = tmp_path / "pets"
    return {
        name: write(root / f"{name}.png")
        for name in ("train/dog/b", "train/dog/a", "train/cat/z", "test/cat/0", "test/dog/0")
    }


def test_classes_and_files_are_sorted(tmp_path, pets):
    (tmp_path / "pets/train/dog/notes.txt").write_text("no image")
    (tmp_path / "pets/train/.hidden").mkdir()
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert data.train_labels.tolist() == [0, 1, 1]
    assert data.shape == (3, 5, 4)
    for got, name in zip(data.train_images, ("train/cat/z", "train/dog/a", "train/dog/b"), strict=True):
        assert (got == pets[name].transpose(2, 0, 1)).all()
    assert data.id == "pets"
    assert not data.original_pixels
    assert is_available({"name": "imagefolder", "path": "pets"}, DataFolder(tmp_path))


def test_grey_stays_grey_only_if_all_are(tmp_path, pets):
    grey = write(tmp_path / "pets/train/cat/z.png", mode="L")
    data = load(tmp_path)
    assert data.shape == (3, 5, 4)
    assert (data.train_images[0] == grey).all()
    for name in pets:
        write(tmp_path / f"pets/{name}.png", mode="L")
    assert load(tmp_path).shape == (1, 5, 4)


def test_one_size_or_resized(tmp_path, pets):
    write(tmp_path / "pets/train/dog/c.png", height=9)
    with pytest.raises(DataError, match=r"c\.png is 4x9, others are 4x5; give 'size'"):
        load(tmp_path)
    assert load(tmp_path, size=6).shape == (3, 6, 6)


def test_class_missing_on_one_side(tmp_path, pets):
    write(tmp_path / "pets/train/emu/a.png")
    with pytest.raises(DataError, match="class 'emu' is in train/ but not in test/"):
        load(tmp_path)
    (tmp_path / "pets/train/emu/a.png").rename(tmp_path / "pets/a.png")
    (tmp_path / "pets/train/emu").rename(tmp_path / "pets/test/emu")
    with pytest.raises(DataError, match="class 'emu' is in test/ but not in train/"):
        load(tmp_path)


def test_class_without_images(tmp_path, pets):
    for part in ("train", "test"):
        (tmp_path / f"pets/{part}/emu").mkdir()
    with pytest.raises(DataError, match="emu holds no images"):
        load(tmp_path)


def test_damaged_and_deep_images(tmp_path, pets):
    file = tmp_path / "pets/train/dog/a.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        load(tmp_path)
    Image.fromarray(np.zeros((5, 4), np.uint16)).save(file)
    with pytest.raises(DataError, match="more than 8 bits"):
        load(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match="'pets' does not exist"):
        load(tmp_path)
    (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match="train/<class>/"):
        load(tmp_path)
