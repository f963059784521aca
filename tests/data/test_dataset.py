"""Data sets, folders, subsets and the hold-out."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisybench.data import (
    DataFolder,
    Dataset,
    data_id,
    default_data_dir,
    is_available,
    load_dataset,
    prepare,
    split_holdout,
    take_subset,
)
from noisybench.data.dataset import long_tail
from noisybench.errors import DataError, UnknownName
from noisybench.suite.stand_in import synthetic_like


def made(train: np.ndarray, test: np.ndarray | None = None, classes: int = 3, **more: object) -> Dataset:
    """A data set whose images carry their own position."""
    test = train if test is None else test
    images = [
        np.arange(len(y), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8) for y in (train, test)
    ]
    fields = {
        "train_images": images[0], "train_labels": np.asarray(train, np.int64),
        "test_images": images[1], "test_labels": np.asarray(test, np.int64), **more,
    }  # fmt: skip
    return Dataset(name="made", id="made", class_names=tuple("abcdefghij"[:classes]), **fields)  # type: ignore[arg-type]


def test_importing_the_package_imports_no_torch():
    code = "import sys, noisybench.data, noisybench.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shape_classes_mean_and_standard_deviation():
    data = made(np.array([0, 1, 2, 0]))
    assert data.shape == (2, 3, 3)
    assert data.num_classes == 3
    assert data.mean == pytest.approx((1.5 / 255, 1.5 / 255), abs=1e-15)  # pixels 0, 1, 2, 3
    assert data.std == pytest.approx((1.25**0.5 / 255,) * 2, abs=1e-15)


def test_constant_channel_has_standard_deviation_one():
    data = made(
        np.array([0, 1, 2]),
        train_images=np.full((3, 1, 3, 3), 7, np.uint8),
        test_images=np.zeros((3, 1, 3, 3), np.uint8),
    )
    assert data.std == (1.0,)


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels"])
def test_fingerprint_sees_every_array(part):
    data = made(np.array([0, 1, 2, 0]))
    changed = getattr(data, part).copy()
    changed[2] -= 1
    assert made(np.array([0, 1, 2, 0])).fingerprint == data.fingerprint
    assert made(np.array([0, 1, 2, 0]), **{part: changed}).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train_images": np.zeros((3, 2, 3, 3), np.float32)}, "must be uint8"),
        ({"test_images": np.zeros((3, 3, 3), np.uint8)}, r"\[N, C, H, W\]"),
        ({"train_labels": np.array([0, 1])}, "one an image"),
        ({"train_labels": np.array([0.0, 1, 2])}, "float64"),
        ({"train_labels": np.array([0, 1, 3])}, r"must be 0 \.\. 2, not 0 \.\. 3"),
        ({"test_labels": np.array([0, -1, 2])}, r"not -1 \.\. 2"),
        ({"test_images": np.zeros((3, 2, 4, 3), np.uint8)}, "must be alike"),
    ],
)
def test_a_dataset_is_what_it_says(fields, message):
    with pytest.raises(DataError, match=message):
        made(np.array([0, 1, 2]), **fields)


# -- folders ---------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_suite_then_to_the_data_folder(tmp_path):
    suite, data = tmp_path / "suite", tmp_path / "data"
    suite.mkdir()
    data.mkdir()
    folder = DataFolder(data, suite)
    (data / "a.npz").touch()
    assert folder.resolve("a.npz") == data / "a.npz"
    (suite / "a.npz").touch()
    assert folder.resolve("a.npz") == suite / "a.npz"
    assert folder.resolve(str(data / "a.npz")) == data / "a.npz"
    with pytest.raises(DataError, match=r"'b\.npz' does not exist; looked for .*suite.b\.npz and .*data.b\.npz"):
        folder.resolve("b.npz")


def test_default_data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("NOISYBENCH_DATA", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("NOISYBENCH_DATA")
    assert "noisybench" in str(default_data_dir())


# -- subsets ---------------------------------------------------------------------------------------


def test_subset_is_balanced_ordered_and_seeded():
    data = made(np.arange(90) % 3)
    small = take_subset(data, 11, 6, 0)
    assert np.bincount(small.train_labels).tolist() == [4, 4, 3]  # the remainder goes to the first classes
    assert np.bincount(small.test_labels).tolist() == [2, 2, 2]
    positions = small.train_images[:, 0, 0, 0].astype(int)
    assert (np.diff(positions) > 0).all()
    assert (small.train_labels == positions % 3).all()
    assert small.fingerprint == take_subset(data, 11, 6, 0).fingerprint
    assert small.fingerprint != take_subset(data, 11, 6, 1).fingerprint


def test_training_and_test_subsets_are_drawn_apart():
    data = made(np.arange(90) % 3)
    small = take_subset(data, 30, 30, 0)
    assert (small.train_images != small.test_images).any()
    assert (take_subset(data, 30, None, 0).train_images == small.train_images).all()
    assert (take_subset(data, None, 30, 0).test_images == small.test_images).all()


def test_smaller_subset_lies_within_a_larger_one():
    data = made(np.arange(90) % 3)
    inner, outer = (set(take_subset(data, n, None, 5).train_images[:, 0, 0, 0]) for n in (9, 30))
    assert inner < outer


def test_whole_part_is_taken_as_it_is():
    data = made(np.array([0, 0, 0, 1, 2]))
    assert (take_subset(data, 5, 5, 0).train_images == data.train_images).all()
    assert take_subset(data, None, None, 0) is data


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (6, "subset 6 needs 2 images of class 'c', there are 1; .* at most 3 is possible"),
        (8, r"train_subset must be 1 \.\. 7, not 8"),
        (0, r"train_subset must be 1 \.\. 7, not 0"),
    ],
)
def test_too_large_a_subset_says_what_is_possible(size, message):
    data = made(np.array([0, 0, 0, 1, 1, 1, 2]))
    assert np.bincount(take_subset(data, 4, None, 0).train_labels).tolist() == [2, 1, 1]
    with pytest.raises(DataError, match=message):
        take_subset(data, size, None, 0)


# -- hold-out --------------------------------------------------------------------------------------


def test_holdout_is_stratified_by_the_labels_given():
    labels = np.repeat(np.arange(4), [100, 50, 25, 25])
    kept, held = split_holdout(labels, 0.1, 0)
    assert len(held) == 20
    counts = np.bincount(labels[held], minlength=4)
    assert (np.abs(counts - [10, 5, 2.5, 2.5]) < 1).all()
    assert sorted([*kept, *held]) == list(range(200))
    assert (np.diff(held) > 0).all()
    assert (np.diff(kept) > 0).all()


def test_holdout_is_seeded_and_pure():
    labels = np.arange(100) % 5
    assert (split_holdout(labels, 0.2, 1)[1] == split_holdout(labels, 0.2, 1)[1]).all()
    assert (split_holdout(labels, 0.2, 1)[1] != split_holdout(labels, 0.2, 2)[1]).any()


def test_no_holdout():
    kept, held = split_holdout(np.arange(6) % 2, 0.0, 0)
    assert kept.tolist() == [0, 1, 2, 3, 4, 5]
    assert held.tolist() == []
    assert held.dtype == np.int64


@pytest.mark.parametrize("share", [-0.1, 1.0, 0.01, 0.99])
def test_a_holdout_that_leaves_nothing_is_refused(share):
    with pytest.raises(DataError, match="validation"):
        split_holdout(np.arange(10) % 2, share, 0)


# -- by name ---------------------------------------------------------------------------------------


def test_prepare_takes_the_subset_of_the_spec(tmp_path):
    spec = {"name": "digits", "train_subset": 100, "test_subset": 50, "validation": 0.1, "subset_seed": 3}
    data = prepare(spec, DataFolder(tmp_path))
    full = load_dataset(spec, DataFolder(tmp_path))
    assert len(data.train_labels) == 100
    assert len(full.train_labels) == 1297
    assert data.fingerprint == take_subset(full, 100, 50, 3).fingerprint


def test_unknown_name(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        load_dataset({"name": "digit"}, DataFolder(tmp_path))


def test_is_available_downloads_nothing(tmp_path):
    folder = DataFolder(tmp_path / "none")
    assert is_available({"name": "digits"}, folder)
    assert is_available({"name": "synthetic"}, folder)
    for spec in (
        {"name": "cifar10"},
        {"name": "cifar100"},
        {"name": "npz", "path": "a.npz"},
        {"name": "imagefolder", "path": "a"},
    ):
        assert not is_available(spec, folder)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("spec", "shape", "classes"),
    [
        ("cifar10", (3, 32, 32), 10),
        ("cifar100", (3, 32, 32), 100),
        ("digits", (1, 8, 8), 10),
        ({"name": "npz", "path": "x.npz", "train_subset": 5000, "subset_seed": 4}, (3, 32, 32), 10),
        ({"name": "npz", "path": "x.npz", "as": "cifar100"}, (3, 32, 32), 100),
        ({"name": "synthetic", "channels": 1, "height": 5, "width": 4, "num_classes": 3}, (1, 5, 4), 3),
    ],
)
def test_synthetic_stand_in_has_shape_classes_and_subset(spec, shape, classes):
    stand_in = synthetic_like(spec)
    data = prepare(stand_in, DataFolder(Path("nowhere")))
    assert stand_in["name"] == "synthetic"
    assert (data.shape, data.num_classes) == (shape, classes)
    if not isinstance(spec, str) and "train_subset" in spec:
        assert len(data.train_labels) == 5000
        assert stand_in["subset_seed"] == 4


def test_data_id():
    assert data_id({"name": "cifar10"}) == "cifar10"
    assert data_id({"name": "npz", "path": "some/cells.npz", "id": None}) == "cells"
    assert data_id({"name": "npz", "path": "some/cells.npz", "id": "mine"}) == "mine"
    assert data_id({"name": "imagefolder", "path": "."}) == "imagefolder"


# -- long tails --------------------------------------------------------------------------------------------------------


def test_the_long_tail_of_cifar10_and_cifar100():
    """Sizes of the long-tailed CIFAR of Cui et al. 2019: 12,406 and 10,847 images at an imbalance factor of 100."""
    ten = long_tail(np.full(10, 5000), 100)
    assert ten.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert ten.sum() == 12406
    assert long_tail(np.full(100, 500), 100).sum() == 10847


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=2, max_size=30).filter(lambda sizes: max(sizes) > 0),
    factor=st.floats(1, 1000),
)
def test_a_long_tail_falls_and_never_asks_for_more_than_there_is(sizes, factor):
    sizes = np.array(sizes)
    kept = long_tail(sizes, factor)
    assert (kept <= sizes).all()
    assert (kept[sizes > 0] >= 1).all()
    assert (np.diff(kept[sizes > 0]) <= 0).all()
    if (sizes == sizes[0]).all():
        assert kept[0] == sizes[0]
        assert kept[-1] == pytest.approx(max(sizes[0] / factor, 1), abs=1)


def test_imbalance_thins_the_training_images_only_and_nests():
    data = made(np.repeat(np.arange(3), 100), np.repeat(np.arange(3), 10))
    tail = take_subset(data, None, None, 1, imbalance=100)
    assert np.bincount(tail.train_labels).tolist() == [100, 10, 1]
    assert len(tail.test_labels) == 30
    assert (np.diff(tail.train_labels) >= 0).all()  # the original order
    assert (data.train_images[tail.train_index] == tail.train_images).all()
    milder = take_subset(data, None, None, 1, imbalance=10)
    assert set(tail.train_index) <= set(milder.train_index)
    half = take_subset(data, 150, None, 1, imbalance=25)
    assert np.bincount(half.train_labels).tolist() == [50, 10, 2]
    assert set(half.train_index) <= set(take_subset(data, 150, None, 1).train_index)
    assert (take_subset(data, None, None, 1, imbalance=1).train_index == np.arange(300)).all()


def test_places_in_the_full_training_set_survive_a_subset_of_a_subset():
    data = made(np.repeat(np.arange(3), 20))
    once = take_subset(data, 30, None, 0)
    twice = take_subset(once, 9, None, 5)
    assert (data.train_images[twice.train_index] == twice.train_images).all()
    assert data.train_index.tolist() == list(range(60))
    with pytest.raises(DataError, match="train_index"):
        dataclasses.replace(once, train_index=np.arange(5))


def test_the_spec_names_the_imbalance(tmp_path):
    spec = {"name": "digits", "train_subset": 500, "test_subset": 100, "imbalance": 10}
    sizes = np.bincount(prepare(spec, DataFolder(tmp_path, None)).train_labels)
    assert sizes[0] == 50
    assert sizes[-1] == 5
