"""What a data set is, where it is looked for, and how a subset and a hold-out are taken from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisybench import registry
from noisybench.errors import DataError
from noisybench.seeding import Draws
from noisybench.suite.grammar import COMMON
from noisybench.suite.stand_in import shape_and_classes

COMMON_KEYS: dict[str, Any] = COMMON["dataset"].defaults
"""Keys that every data set takes in a suite, with their defaults. They are no parameters of the component."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with clean labels.

    ``train_images`` uint8 ``[N, C, H, W]``, ``train_labels`` int64 ``[N]`` with values 0 .. K-1, test likewise;
    ``class_names`` K strings. ``comparable_as`` is the name under which published scores exist for this data (or
    None), ``original_pixels`` whether the images are bit for bit the published ones. ``train_index`` int64 ``[N]`` are
    the places of these training images in the full training set; ``train_open`` bool ``[N]`` marks images that show
    none of the K classes, whatever their label says. DataError if it does not hold.
    """

    name: str
    id: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    comparable_as: str | None = None
    original_pixels: bool = False
    train_index: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    train_open: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, bool))

    def __post_init__(self) -> None:
        size = len(self.train_labels)
        if not len(self.train_index):
            object.__setattr__(self, "train_index", np.arange(size))
        if not len(self.train_open):
            object.__setattr__(self, "train_open", np.zeros(size, bool))
        for part, images, labels in self.parts():
            if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
                raise DataError(
                    f"{self.id}: {part} images must be uint8 [N, C, H, W] and not empty, "
                    f"not {images.dtype} {list(images.shape)}"
                )
            if labels.dtype != np.int64 or labels.shape != (len(images),):
                raise DataError(
                    f"{self.id}: {part} labels must be int64 [{len(images)}], one an image, "
                    f"not {labels.dtype} {list(labels.shape)}"
                )
            if labels.min() < 0 or labels.max() >= self.num_classes:
                raise DataError(
                    f"{self.id}: {part} labels must be 0 .. {self.num_classes - 1}, "
                    f"not {labels.min()} .. {labels.max()}"
                )
        for what, array in (("train_index", self.train_index), ("train_open", self.train_open)):
            if array.shape != (size,):
                raise DataError(f"{self.id}: {what} has {len(array)} entries for {size} training images")
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.id}: training images are {list(self.train_images.shape[1:])}, "
                f"test images {list(self.test_images.shape[1:])}; they must be alike"
            )

    def parts(self) -> tuple[tuple[str, np.ndarray, np.ndarray], tuple[str, np.ndarray, np.ndarray]]:
        """``(part, images, labels)`` of training and test."""
        return ("training", self.train_images, self.train_labels), ("test", self.test_images, self.test_labels)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        channels, height, width = self.train_images.shape[1:]
        return int(channels), int(height), int(width)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the four arrays as they are here, each with its name and shape, and the open-set mask."""
        digest = hashlib.sha256()
        for part, images, labels in self.parts():
            for what, array in (("images", images), ("labels", labels.astype("<i8", copy=False))):
                digest.update(f"{part} {what} {list(array.shape)};".encode())
                digest.update(np.ascontiguousarray(array).data)
        if self.train_open.any():
            digest.update(b"training open;" + np.packbits(self.train_open).tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def _histogram(self) -> np.ndarray:
        """How often each value 0 .. 255 occurs in each channel of the training images, ``[C, 256]``: exact."""
        counts = np.zeros((self.shape[0], 256), np.int64)
        for start in range(0, len(self.train_images), 4096):
            for channel, values in enumerate(self.train_images[start : start + 4096].swapaxes(0, 1)):
                counts[channel] += np.bincount(values.reshape(-1), minlength=256)
        return counts

    @property
    def mean(self) -> tuple[float, ...]:
        """Per-channel mean of the training images, scaled to 0 .. 1."""
        counts = self._histogram
        return tuple(int(c @ np.arange(256)) / int(c.sum()) / 255 for c in counts)

    @property
    def std(self) -> tuple[float, ...]:
        """Per-channel standard deviation (over all pixels) scaled to 0 .. 1; 1 for a constant channel."""
        out = []
        for c in self._histogram:
            n, total, squares = int(c.sum()), int(c @ np.arange(256)), int(c @ np.arange(256) ** 2)
            variance = n * squares - total * total  # exact integers: n^2 times the variance
            out.append(variance**0.5 / n / 255 if variance > 0 else 1.0)
        return tuple(out)


@dataclass(frozen=True)
class DataFolder:
    """Where data lies: the data folder, and the suite's own folder, which relative paths are tried against first.

    ``download`` says whether a source may fetch what is missing. ``moved``: files that lie elsewhere on this machine,
    by the name a suite calls them.
    """

    path: Path
    suite_dir: Path | None = None
    download: bool = True
    moved: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    def places(self, relative: str | Path) -> list[Path]:
        """Where ``relative`` is looked for, in order. An absolute path is one place."""
        if str(relative) in self.moved:
            return [self.moved[str(relative)]]
        wanted = Path(relative).expanduser()
        if wanted.is_absolute():
            return [wanted]
        return [folder / wanted for folder in (self.suite_dir, self.path) if folder is not None]

    def resolve(self, relative: str | Path) -> Path:
        """The first of ``places`` that exists; DataError naming them all otherwise."""
        places = self.places(relative)
        for place in places:
            if place.exists():
                return place
        raise DataError(f"'{relative}' does not exist; looked for {' and '.join(str(place) for place in places)}")


def default_data_dir() -> Path:
    """``NOISYBENCH_DATA``, else ``data`` in the user's cache folder for noisybench."""
    chosen = os.environ.get("NOISYBENCH_DATA")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("noisybench")) / "data"


def load_dataset(spec: Mapping[str, Any], folder: DataFolder, *, download: bool = True) -> Dataset:
    """Load the full data of a resolved ``dataset`` block (its subset keys are ignored here).

    Without ``download`` nothing is fetched. DataError when the data is missing, damaged or not what it claims to be.
    """
    component, params = _component(spec)
    loaded: Dataset = component.build(dataclasses.replace(folder, download=folder.download and download), **params)
    like = shape_and_classes(loaded.comparable_as) if not loaded.original_pixels else None
    if like and (loaded.shape != like[0] or loaded.num_classes != like[1]):
        raise DataError(
            f"{loaded.id}: 'as: {loaded.comparable_as}' needs {like[1]} classes and images {list(like[0])}, "
            f"but it has {loaded.num_classes} and {list(loaded.shape)}"
        )
    return loaded


def prepare(spec: Mapping[str, Any], folder: DataFolder, *, download: bool = True) -> Dataset:
    """Load, then take the subset that the spec asks for."""
    common = {**COMMON_KEYS, **{key: value for key, value in spec.items() if key in COMMON_KEYS}}
    return take_subset(
        load_dataset(spec, folder, download=download),
        common["train_subset"],
        common["test_subset"],
        common["subset_seed"],
        imbalance=common["imbalance"],
    )


def is_available(spec: Mapping[str, Any], folder: DataFolder) -> bool:
    """Whether the data can be loaded without fetching anything (presence only; ``load_dataset`` checks content)."""
    component, params = _component(spec)
    available = component.traits.get("available")
    return True if available is None else bool(available(folder, component.validate(params)))


def data_id(spec: Mapping[str, Any]) -> str:
    """The id of a ``dataset`` block: its ``id``, else the stem of its ``path``, else its name."""
    if spec.get("id"):
        return str(spec["id"])
    return (Path(spec["path"]).stem if spec.get("path") else "") or str(spec["name"])


def _component(spec: Mapping[str, Any]) -> tuple[registry.Component, dict[str, Any]]:
    params = {key: value for key, value in spec.items() if key != "name" and key not in COMMON_KEYS}
    return registry.get("dataset", spec["name"]), params


def take_subset(
    dataset: Dataset,
    train_subset: int | None,
    test_subset: int | None,
    subset_seed: int = 0,
    *,
    imbalance: float | None = None,
) -> Dataset:
    """A class-balanced subset in the original order; None, or the size of the whole part, takes all of it.

    Of ``n`` images each class gives ``n // K`` and the first ``n % K`` classes one more. The choice depends on
    ``subset_seed`` alone (training and test draw apart), and a smaller subset lies within a larger one.

    ``imbalance`` then thins the training images to a long tail (see ``long_tail``), the test images stay as they are:
    ``train_subset`` is the size before that. A long tail lies within that of a smaller factor.
    """
    if train_subset is None and test_subset is None and imbalance is None:
        return dataset
    train = _chosen(dataset, "train", train_subset, dataset.train_labels, subset_seed, imbalance)
    test = _chosen(dataset, "test", test_subset, dataset.test_labels, subset_seed, None)
    return dataclasses.replace(
        dataset,
        train_images=dataset.train_images[train],
        train_labels=dataset.train_labels[train],
        train_index=dataset.train_index[train],
        train_open=dataset.train_open[train],
        test_images=dataset.test_images[test],
        test_labels=dataset.test_labels[test],
    )


def long_tail(sizes: np.ndarray, factor: float) -> np.ndarray:
    """Images a class keeps in a long tail, int64 ``[K]``: n_c = n_max factor^(-c / (K - 1)), rounded down.

    The profile of Cui et al. 2019 (and of the LDAM code, which rounds down too): class 0 is ``factor`` times as
    frequent as class K-1. n_max is the largest number for which every class has enough: the class size, when all are
    equal. A class that has images keeps at least one.

    >>> long_tail(np.full(10, 5000), 100)
    array([5000, 2997, 1796, 1077,  645,  387,  232,  139,   83,   50])
    """
    share = float(factor) ** (-np.arange(len(sizes)) / max(len(sizes) - 1, 1))
    there = sizes > 0
    largest = np.floor(np.min(sizes[there] / share[there]) + 1e-9)
    kept = np.maximum(np.floor(largest * share + 1e-9), 1).astype(np.int64)
    thinned: np.ndarray = np.minimum(kept, sizes)
    return thinned


def _chosen(
    dataset: Dataset, part: str, size: int | None, labels: np.ndarray, seed: int, imbalance: float | None
) -> np.ndarray:
    if size is not None and (size < 1 or size > len(labels)):
        raise DataError(f"{dataset.id}: {part}_subset must be 1 .. {len(labels)}, not {size}")
    quotas = np.bincount(labels, minlength=dataset.num_classes)
    if size is not None and size != len(labels):
        quotas = _balanced(dataset, part, size, quotas)
    if imbalance is not None:
        quotas = long_tail(quotas, imbalance)
    if quotas.sum() == len(labels):
        return np.arange(len(labels))
    return Draws(seed, "subset", part).choose_within(labels, quotas)


def _balanced(dataset: Dataset, part: str, size: int, available: np.ndarray) -> np.ndarray:
    classes = dataset.num_classes
    quotas: np.ndarray = np.full(classes, size // classes) + (np.arange(classes) < size % classes)
    short = np.flatnonzero(available < quotas)
    if len(short):
        c = int(short[0])
        raise DataError(
            f"{dataset.id}: {part}_subset {size} needs {quotas[c]} images of class '{dataset.class_names[c]}', "
            f"there are {available[c]}; a class-balanced subset of at most {int(available.min()) * classes} is possible"
        )
    return quotas


def split_holdout(noisy_labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split positions 0 .. N-1 into ``(train_index, holdout_index)``, both ascending, stratified by *noisy* label.

    The hold-out has round(share N) samples, and of each class its share up to one sample; it is as noisy as the rest.
    Share 0 holds nothing out. DataError if either part would be empty though the share is not 0.
    """
    labels = np.asarray(noisy_labels, dtype=np.int64)
    if share == 0:
        return np.arange(len(labels)), np.empty(0, np.int64)
    if not 0 < share < 1:
        raise DataError(f"validation must be at least 0 and below 1, not {share}")
    sizes = np.bincount(labels)
    bounds = np.floor(share * np.concatenate([[0], np.cumsum(sizes)]) + 0.5).astype(np.int64)
    holdout = Draws(seed, "split").choose_within(labels, np.diff(bounds))
    if len(holdout) in (0, len(labels)):
        raise DataError(f"validation: {share} of {len(labels)} training images leaves one part empty")
    kept = np.ones(len(labels), bool)
    kept[holdout] = False
    return np.flatnonzero(kept), holdout


def require_all_classes(dataset: Dataset) -> Dataset:
    """DataError unless every class has a training and a test image."""
    for part, _, labels in dataset.parts():
        empty = np.flatnonzero(np.bincount(labels, minlength=dataset.num_classes) == 0)
        if len(empty):
            c = int(empty[0])
            raise DataError(
                f"{dataset.id}: class {c} ('{dataset.class_names[c]}') has no {part} image; "
                f"labels must be 0 .. K-1 with every class present"
            )
    return dataset
