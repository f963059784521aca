"""CIFAR archives: checked before anything is unpickled. The archives here are small stand-ins with their own sums."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cifar_archives import stand_in

from noisybench.data import DataFolder, Dataset, download, is_available, take_subset
from noisybench.data import cifar as module
from noisybench.errors import DataError


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_published_sums():
    assert module.CIFAR10.sha256 == "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    assert module.CIFAR100.sha256 == "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    torchvision = pytest.importorskip("torchvision.datasets")
    for ours, theirs in ((module.CIFAR10, torchvision.CIFAR10), (module.CIFAR100, torchvision.CIFAR100)):
        listed = [*theirs.train_list, *theirs.test_list, [theirs.meta["filename"], theirs.meta["md5"]]]
        assert ours.md5 == dict(listed)
        assert (ours.url, ours.filename, ours.folder) == (theirs.url, theirs.filename, theirs.base_folder)


@pytest.mark.parametrize("original", [module.CIFAR10, module.CIFAR100], ids=lambda a: a.name)
def test_download_then_read(original, tmp_path):
    archive, content = stand_in(original, tmp_path)
    folder = DataFolder(tmp_path / "data")
    data = module.load(archive, folder)
    assert (folder.path / archive.filename).read_bytes() == content
    assert data.shape == (3, 32, 32)
    assert data.original_pixels
    assert data.comparable_as == data.id == archive.name
    assert data.class_names[3] == "class 3"
    assert data.train_labels[:4].tolist() == [0, 1, 2, 3]
    red, green = data.train_images[0, 0], data.train_images[0, 1]
    assert red[1, 2] == 34  # row 1, column 2 of the first plane
    assert green[0, 0] == 1024 % 256
    assert [p.name for p in folder.path.iterdir() if "lock" not in p.name] == [archive.filename]


def test_second_load_needs_no_server(tmp_path):
    archive, _ = stand_in(module.CIFAR10, tmp_path)
    folder = DataFolder(tmp_path / "data")
    first = module.load(archive, folder)
    gone = dataclasses.replace(archive, url="file:///nowhere/at/all")
    assert module.load(gone, folder).fingerprint == first.fingerprint
    assert is_available({"name": "cifar10"}, folder)


def test_two_at_a_time_download_once(tmp_path, monkeypatch):
    archive, _ = stand_in(module.CIFAR10, tmp_path)
    fetched, fetch = [], download._fetch

    def slow_fetch(*args):
        fetched.append(1)
        time.sleep(0.2)
        fetch(*args)

    monkeypatch.setattr(download, "_fetch", slow_fetch)
    with ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(lambda _: module.load(archive, DataFolder(tmp_path / "data")), range(2)))
    assert loaded[0].fingerprint == loaded[1].fingerprint
    assert len(fetched) == 1


def test_no_network_says_where_the_file_belongs(tmp_path):
    archive = dataclasses.replace(module.CIFAR10, url="file:///nowhere/at/all")
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        module.load(archive, DataFolder(tmp_path))
    assert str(tmp_path / "cifar-10-python.tar.gz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_downloads_off(tmp_path):
    with pytest.raises(DataError, match="downloads are off: put cifar-10-python"):
        module.load(module.CIFAR10, DataFolder(tmp_path, download=False))


def test_a_web_page_instead_of_the_archive(tmp_path):
    page = tmp_path / "login.html"
    page.write_text("<!DOCTYPE html><html>Please log in</html>")
    archive = dataclasses.replace(module.CIFAR10, url=page.as_uri())
    folder = DataFolder(tmp_path / "data")
    with pytest.raises(DataError, match="web page"):
        module.load(archive, folder)
    assert not [p for p in folder.path.iterdir() if "lock" not in p.name]


def test_nothing_is_unpickled_before_the_archive_matches(tmp_path):
    files = {name: pickle.dumps(Bomb(tmp_path / "boom")) for name in module.CIFAR10.md5}
    _, content = stand_in(module.CIFAR10, tmp_path, files)
    (tmp_path / module.CIFAR10.filename).write_bytes(content)
    with pytest.raises(DataError, match="not the published archive"):
        module.load(module.CIFAR10, DataFolder(tmp_path))
    assert not (tmp_path / "boom").exists()


def test_a_pickle_that_calls_something_is_refused_even_when_its_sums_match(tmp_path):
    files = {name: pickle.dumps(Bomb(tmp_path / "boom")) for name in module.CIFAR10.md5}
    archive, _ = stand_in(module.CIFAR10, tmp_path, files)
    with pytest.raises(DataError, match="refused to unpickle"):
        module.load(archive, DataFolder(tmp_path / "data"))
    assert not (tmp_path / "boom").exists()


def test_truncated_archive(tmp_path):
    archive, content = stand_in(module.CIFAR10, tmp_path)
    (tmp_path / archive.filename).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged, incomplete or another file"):
        module.load(archive, DataFolder(tmp_path))


def extracted(archive: module.Archive, content: bytes, folder) -> None:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)


def test_extracted_folder_whose_sums_match(tmp_path):
    archive, content = stand_in(module.CIFAR10, tmp_path)
    extracted(archive, content, tmp_path / "data")
    by_folder = module.load(archive, DataFolder(tmp_path / "data", download=False))
    assert by_folder.original_pixels
    assert by_folder.fingerprint == module.load(archive, DataFolder(tmp_path / "other")).fingerprint


def test_extracted_folder_with_other_pixels_names_the_other_route(tmp_path):
    archive, content = stand_in(module.CIFAR10, tmp_path)
    extracted(archive, content, tmp_path)
    (tmp_path / archive.folder / "data_batch_3").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(DataError, match=r"data_batch_3 differs .* 'npz' or 'imagefolder' with 'as: cifar10'"):
        module.load(archive, DataFolder(tmp_path))
    assert not (tmp_path / "boom").exists()
    (tmp_path / archive.folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3 is missing"):
        module.load(archive, DataFolder(tmp_path))


# -- CIFAR-80N ---------------------------------------------------------------------------------------------------------


def hundred() -> Dataset:
    """100 classes of 20 training and 2 test images; the first pixel is the class."""
    train, test = np.repeat(np.arange(100), 20), np.repeat(np.arange(100), 2)

    def images(labels: np.ndarray) -> np.ndarray:
        return np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), 3, 2, 2)).copy()

    names = tuple(f"class {c}" for c in range(100))
    return Dataset("cifar100", "cifar100", images(train), train, images(test), test, names)


def test_the_last_classes_of_cifar80n_are_open_set():
    full = hundred()
    data = module.with_open_classes(full, 20, 0)
    assert (data.num_classes, data.id, data.comparable_as) == (80, "cifar80n", None)
    assert len(data.train_labels) == 2000
    assert (data.train_open == (full.train_labels >= 80)).all()
    closed = ~data.train_open
    assert (data.train_labels[closed] == full.train_labels[closed]).all()
    assert data.train_images[data.train_open][:, 0, 0, 0].min() == 80  # their images stay
    assert sorted(set(data.test_labels)) == list(range(80))
    assert (data.test_images[:, 0, 0, 0] == data.test_labels).all()
    drawn = np.bincount(data.train_labels[data.train_open], minlength=80)
    assert drawn.sum() == 400
    assert ((drawn - 5) ** 2 / 5).sum() < 130  # chi-squared, 79 degrees of freedom: uniform over the 80
    assert (module.with_open_classes(full, 20, 1).train_labels != data.train_labels).any()
    assert module.with_open_classes(full, 20, 0).fingerprint == data.fingerprint
    assert module.with_open_classes(full, 10, 0).id == "cifar90n"


def test_a_subset_keeps_the_marks_of_open_set_images():
    data = take_subset(module.with_open_classes(hundred(), 20, 0), 800, None, 0)
    assert (data.train_open == (data.train_images[:, 0, 0, 0] >= 80)).all()
