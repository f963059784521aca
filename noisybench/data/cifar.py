"""CIFAR-10 and CIFAR-100 as published: fetched once, checked before anything is unpickled."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from noisybench.data.dataset import DataFolder, Dataset
from noisybench.data.download import Published, download, what_it_is
from noisybench.errors import DataError
from noisybench.registry import dataset
from noisybench.seeding import Draws


@dataclass(frozen=True)
class Archive(Published):
    """A published archive; ``md5`` are the hashes of the files inside, as torchvision lists them."""

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels_key: str
    names_key: str
    md5: Mapping[str, str]


CIFAR10 = Archive(
    name="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    filename="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    folder="cifar-10-batches-py",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test="test_batch",
    meta="batches.meta",
    labels_key="labels",
    names_key="label_names",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)
CIFAR100 = Archive(
    name="cifar100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    filename="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    folder="cifar-100-python",
    train=("train",),
    test="test",
    meta="meta",
    labels_key="fine_labels",
    names_key="fine_label_names",
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def _present(archive: Archive) -> Any:
    def available(folder: DataFolder, params: Mapping[str, Any]) -> bool:
        return (folder.path / archive.filename).is_file() or (folder.path / archive.folder).is_dir()

    return available


@dataset("cifar10", cite="krizhevsky2009cifar", like=((3, 32, 32), 10), available=_present(CIFAR10))
def cifar10(folder: DataFolder) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images, 32x32 RGB, ten classes (Krizhevsky 2009).

    Read from ``cifar-10-python.tar.gz``, or an extracted ``cifar-10-batches-py/``, in the data folder; downloaded
    there (170 MB) when neither exists.
    """
    return load(CIFAR10, folder)


@dataset("cifar100", cite="krizhevsky2009cifar", like=((3, 32, 32), 100), available=_present(CIFAR100))
def cifar100(folder: DataFolder) -> Dataset:
    """CIFAR-100 with its 100 fine labels: 50,000 training and 10,000 test images, 32x32 RGB (Krizhevsky 2009).

    Read from ``cifar-100-python.tar.gz``, or an extracted ``cifar-100-python/``, in the data folder; downloaded there
    (169 MB) when neither exists.
    """
    return load(CIFAR100, folder)


@dataset("cifar80n", cite="yao2021josrc", like=((3, 32, 32), 80), available=_present(CIFAR100))
def cifar80n(
    folder: DataFolder,
    *,
    open_classes: Annotated[int, Field(ge=1, le=98)] = 20,
    label_seed: Annotated[int, Field(ge=0)] = 0,
) -> Dataset:
    """CIFAR-80N: CIFAR-100 whose last 20 classes, by number, are open-set images (Yao et al. 2021, Jo-SRC).

    Their 10,000 training images stay, each under one of the first 80 classes drawn uniformly (``label_seed``): a fifth
    of the training set shows no class of the task. The test set is that of the 80 classes. The noise among the 80 is
    ``noise`` as always: the authors' symmetric 20% is ``{kind: symmetric, rate: 0.2, count: independent}``, their
    pair flip ``{kind: pairflip, rate: 0.4, count: independent}``. Open-set images are counted apart from flips, and
    their labels are as uniform after this noise as before.

    Follows data/noisy_cifar.py of the authors (and of PNP, Sun et al. 2022) with one difference: there the labels of
    the open-set images are drawn anew with every noise seed.
    """
    return with_open_classes(load(CIFAR100, folder), open_classes, label_seed)


def with_open_classes(full: Dataset, open_classes: int, label_seed: int) -> Dataset:
    """The last ``open_classes`` classes of a data set made open-set: relabelled in training, left out of the test."""
    closed = full.num_classes - open_classes
    open_set = full.train_labels >= closed
    labels = full.train_labels.copy()
    labels[open_set] = Draws(label_seed, "data", "open classes").integers(int(open_set.sum()), closed)
    tested = full.test_labels < closed
    return Dataset(
        name="cifar80n",
        id="cifar80n" if open_classes == 20 else f"cifar{closed}n",
        train_images=full.train_images,
        train_labels=labels,
        test_images=full.test_images[tested],
        test_labels=full.test_labels[tested],
        class_names=full.class_names[:closed],
        original_pixels=True,
        train_open=open_set,
    )


def load(archive: Archive, folder: DataFolder) -> Dataset:
    """The archive as a Dataset. DataError when it is missing, damaged or something else under that name."""
    files = _checked_files(archive, folder)
    train = [_batch(files[name], archive, name) for name in archive.train]
    test_images, test_labels = _batch(files[archive.test], archive, archive.test)
    names = _unpickle(files[archive.meta], archive.meta)[archive.names_key]
    return Dataset(
        name=archive.name,
        id=archive.name,
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(str(name) for name in names),
        comparable_as=archive.name,
        original_pixels=True,
    )


def _checked_files(archive: Archive, folder: DataFolder) -> dict[str, bytes]:
    """Content of the archive's files, every byte checked: from the archive, the extracted folder, or a download."""
    path, extracted = folder.path / archive.filename, folder.path / archive.folder
    if not path.is_file() and extracted.is_dir():
        return _from_folder(archive, extracted)
    if not path.is_file():
        download(archive, folder)
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != archive.sha256:
        raise DataError(f"{path} is not the published archive ({what_it_is(content)}); delete it and run again")
    return _from_archive(archive, content, path)


def _from_archive(archive: Archive, content: bytes, path: Path) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            for name in archive.md5:
                member = tar.extractfile(f"{archive.folder}/{name}")
                if member is None:
                    raise KeyError(name)
                files[name] = member.read()
    except (KeyError, tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return files


def _from_folder(archive: Archive, extracted: Path) -> dict[str, bytes]:
    files = {}
    for name, wanted in archive.md5.items():
        path = extracted / name
        content = _read(path) if path.is_file() else b""
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != wanted:
            what = "differs from the published file (MD5)" if path.is_file() else "is missing"
            raise DataError(
                f"{path} {what}, so nothing in {extracted} was read; use the published {archive.filename}, or give "
                f"these images as 'npz' or 'imagefolder' with 'as: {archive.name}'"
            )
        files[name] = content
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _batch(content: bytes, archive: Archive, name: str) -> tuple[np.ndarray, np.ndarray]:
    batch = _unpickle(content, name)
    images = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(batch[archive.labels_key], dtype=np.int64)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain values and numpy arrays, and calls nothing else, whatever the checks above let through."""

    _allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._allowed[module, name]


def _unpickle(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # pickle raises nearly anything on bad input
        raise DataError(f"{name}: refused to unpickle it ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{name}: holds no dictionary")
    return value
