"""One copy of the data for all processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from noisybench.data import DataFolder, Dataset, prepare
from noisybench.data import shared as module
from noisybench.data.shared import ARRAYS, share
from noisybench.errors import DataError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def digits():
    return prepare({"name": "digits", "train_subset": 500, "test_subset": 100}, DataFolder(Path()))


def large():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (n, 3, 32, 32), np.uint8) for n in (2000, 500)]
    labels = [np.arange(n) % 10 for n in (2000, 500)]
    return Dataset("a", "a", images[0], labels[0], images[1], labels[1], tuple("abcdefghij"))


def test_a_shared_data_set_is_the_data_set(digits):
    shared = share([("digits", digits), ("large", large())])
    for key, dataset in (("digits", digits), ("large", large())):
        copy = shared.get(key)
        for name in ARRAYS:
            theirs, ours = getattr(dataset, name), getattr(copy, name)
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert np.array_equal(ours, theirs)
        assert (copy.name, copy.class_names) == (dataset.name, dataset.class_names)
        assert (copy.fingerprint, copy.mean, copy.std) == (dataset.fingerprint, dataset.mean, dataset.std)
        recomputed = Dataset(**{name: getattr(copy, name) for name in [*ARRAYS, "name", "id", "class_names"]})
        assert recomputed.fingerprint == dataset.fingerprint
    assert shared.get("another") is None
    shared.close()


def test_every_array_of_a_data_set_is_shared():
    assert set(ARRAYS) == {name for name, value in vars(large()).items() if isinstance(value, np.ndarray)}


def test_torch_takes_the_arrays_without_a_copy_and_without_a_warning(digits):
    images = share([("digits", digits)]).get("digits").train_images
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(np.ascontiguousarray(images))
    assert tensor.data_ptr() == images.ctypes.data


def write_and_report(connection, shared):
    dataset = shared.get("large")
    dataset.train_labels[:] = 0
    total = int(dataset.train_images.sum(dtype=np.int64))
    connection.send((dataset.fingerprint, _mapped(), total))
    connection.recv()


def _mapped() -> dict[str, int]:
    """Bytes of the shared file's mapping in this process, as the system counts them."""
    found: dict[str, int] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name = line.split()[0]
        if not name.endswith(":"):
            inside = "(deleted)" in line
        elif inside and name in ("Rss:", "Private_Dirty:", "Private_Clean:", "Shared_Clean:", "Shared_Dirty:"):
            found[name] = found.get(name, 0) + int(line.split()[1]) * 1024
    return found


@linux
def test_processes_share_the_pages_and_what_one_writes_stays_its_own():
    original = large()
    shared = share([("large", original)])
    assert int(shared.get("large").train_images.sum(dtype=np.int64)) > 0  # read here too, so that pages have two users
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=write_and_report, args=(theirs, shared))
    child.start()
    fingerprint, pages, total = ours.recv()
    ours.send(None)
    child.join()
    assert fingerprint == original.fingerprint
    assert total == int(original.train_images.sum(dtype=np.int64))
    labels = original.train_labels.nbytes
    private = pages["Private_Dirty:"] + pages["Private_Clean:"]
    assert labels <= private < labels + 16 * os.sysconf("SC_PAGE_SIZE")
    assert pages["Rss:"] - private >= original.train_images.nbytes
    assert np.array_equal(shared.get("large").train_labels, original.train_labels)


@linux
def test_the_file_has_no_name_and_goes_with_its_users(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared = share([("digits", digits)])
    assert list(tmp_path.iterdir()) == []
    opened = Path(f"/proc/self/fd/{shared._descriptor}")
    assert opened.exists()
    shared.close()
    assert not opened.exists()
    shared.close()


def test_pickled_for_anything_but_a_new_process_it_arrives_empty(digits):
    assert pickle.loads(pickle.dumps(share([("digits", digits)]))).get("digits") is None


def test_another_file_under_its_descriptor_is_refused(digits, tmp_path):
    shared = share([("digits", digits)])
    for content in (b"short", bytes(shared._size)):
        path = tmp_path / "other"
        path.write_bytes(content)
        with path.open("rb") as file, pytest.raises(DataError, match="run the same command again"):
            module.SharedData(file.fileno(), shared._size, shared._token, shared._entries)


def test_no_room_means_no_sharing(digits, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert share([("digits", digits)]) is None
    monkeypatch.undo()
    assert share([]) is None
