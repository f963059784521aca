"""What a process keeps from one run to the next, within bounds: data sets and injected noise."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from noisybench.data import COMMON_KEYS, DataFolder, Dataset, load_dataset, prepare
from noisybench.data.shared import SharedData, share
from noisybench.noise import NoisyLabels
from noisybench.spec import at, canonical_json

NOISE_BYTES = 32 * 2**20
"""Injected labels are kept up to this size; of CIFAR-10, 22 of them."""

_own: dict[str, Dataset] = {}
_others: dict[str, np.ndarray] = {}
_noise: OrderedDict[str, NoisyLabels] = OrderedDict()
_shared: list[SharedData | Delivered] = []


def load_subset(spec: Mapping[str, Any], folder: DataFolder) -> Dataset:
    """The data set of a spec with its subset taken: the copy shared with other processes, or this process's own.

    One data set of its own at a time: a process that moves on does not hold the last one.
    """
    key = _key(spec["dataset"], folder)
    found = _find_shared(key)
    if found is not None:
        return found
    if key not in _own:
        _own.clear()
        _own[key] = prepare(spec["dataset"], folder)
    return _own[key]


def other_images(block: Mapping[str, Any], folder: DataFolder) -> np.ndarray:
    """Training images of the data set that open-set noise takes its images from; one is kept for the next run."""
    whole = _whole(block)
    key = _key(whole, folder)
    found = _find_shared(key)
    if found is not None:
        return found.train_images
    if key not in _others:
        _others.clear()
        _others[key] = load_dataset(whole, folder).train_images
    return _others[key]


def keep_noise(spec: Mapping[str, Any], folder: DataFolder, inject: Callable[[], NoisyLabels]) -> NoisyLabels:
    """What ``inject`` gives for the data set, noise and noise seed of ``spec``, made once and kept.

    Labels and flips are copies of what is kept: whoever changes them changes nobody else's.
    """
    seed = spec["noise"].get("seed")
    made_from = [_key(spec["dataset"], folder), spec["noise"], spec["seed"] if seed is None else seed]
    key = canonical_json([*made_from, spec.get("files", {})])
    if key in _noise:
        _noise.move_to_end(key)
    else:
        _noise[key] = inject()
        while len(_noise) > 1 and sum(_size(noise) for noise in _noise.values()) > NOISE_BYTES:
            _noise.popitem(last=False)
    kept = _noise[key]
    return dataclasses.replace(kept, labels=kept.labels.copy(), flipped=kept.flipped.copy())


def share_data(specs: Iterable[Mapping[str, Any]], folder: DataFolder) -> SharedData | None:
    """One copy of every data set that the specs name, for this process and those it starts; None where it can't be.

    This process uses the shared copy from then on, its own ones are dropped.
    """
    wanted: dict[str, Callable[[], Dataset]] = {}
    for spec in specs:
        for block, load in needed(spec, folder):
            wanted.setdefault(_key(block, folder), load)

    def one_by_one() -> Iterator[tuple[str, Dataset]]:
        for key, load in wanted.items():
            yield key, load()

    shared = share(one_by_one())
    if shared is not None:
        adopt(shared)
    return shared


def needed(spec: Mapping[str, Any], folder: DataFolder) -> list[tuple[Mapping[str, Any], Callable[[], Dataset]]]:
    """Blocks of the data sets that a run takes images from, each with what loads it."""
    found: list[tuple[Mapping[str, Any], Callable[[], Dataset]]] = [
        (spec["dataset"], partial(load_subset, spec, folder))
    ]
    block = at(spec, "noise.open_set.from")
    if block is not None:
        whole = _whole(block)
        found.append((whole, partial(load_dataset, whole, folder)))
    return found


class Delivered:
    """Data sets that came from another machine, each under its block."""

    def __init__(self, datasets: Iterable[tuple[Mapping[str, Any], Dataset]], folder: DataFolder) -> None:
        self._datasets = {_key(block, folder): dataset for block, dataset in datasets}

    def get(self, key: str) -> Dataset | None:
        """The data set under ``key``, or None."""
        return self._datasets.get(key)

    def close(self) -> None:
        """Hold them no more."""
        self._datasets = {}


def adopt(shared: SharedData | Delivered | None) -> None:
    """Use data that another process, or this one, has laid out for all."""
    if shared is not None:
        _own.clear()
        _others.clear()
        _shared.append(shared)


def release(shared: SharedData | Delivered | None) -> None:
    """Use it no more."""
    if shared is not None:
        _shared[:] = [other for other in _shared if other is not shared]
        shared.close()


def _find_shared(key: str) -> Dataset | None:
    return next((found for shared in _shared if (found := shared.get(key)) is not None), None)


def _key(block: Mapping[str, Any], folder: DataFolder) -> str:
    """What the prepared data depends on: the block but for the hold-out, which is taken later, and the folders."""
    taken = {**COMMON_KEYS, **block, "validation": 0.0}
    return canonical_json([taken, str(folder.path), str(folder.suite_dir)])


def _whole(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key not in COMMON_KEYS}


def _size(noise: NoisyLabels) -> int:
    return noise.labels.nbytes + noise.flipped.nbytes + noise.clean.nbytes
