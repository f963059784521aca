"""From a spec to everything a run trains on: data, noise, hold-out, labels."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench import registry
from noisybench.data import DataFolder, Dataset, split_holdout
from noisybench.data.download import Published, download
from noisybench.errors import DataError, StoreError
from noisybench.methods.task import Numerics, Oracle, Task
from noisybench.noise import NoisyLabels, inject
from noisybench.noise.open_set import OpenSet, present, replace_images
from noisybench.store import Store
from noisybench.train.evaluation import Truth
from noisybench.train.kept import keep_noise, load_subset, other_images


@dataclass(frozen=True)
class Teacher:
    """Predictions a student is trained on: classes of the whole training subset ``[N]`` and their hash."""

    run_id: str
    labels: np.ndarray
    sha256: str
    gradient_evaluations: int


@dataclass(frozen=True)
class Materials:
    """What a run is made from, on the CPU: ``spec`` with its files found, ``index`` and ``holdout`` as positions in the
    training subset. Train on ``open_set.images``: those of ``dataset`` with open-set noise."""

    spec: Mapping[str, Any]
    dataset: Dataset
    noise: NoisyLabels
    open_set: OpenSet
    index: np.ndarray
    holdout: np.ndarray
    teacher: Teacher | None

    @property
    def labels(self) -> np.ndarray:
        """Labels to train on: a teacher's predictions, or the noisy ones."""
        return self.noise.labels if self.teacher is None else self.teacher.labels

    @property
    def flipped(self) -> np.ndarray:
        """bool ``[N]``: shows a class of the task and is labelled as another. Open-set images are no flips."""
        flips: np.ndarray = self.noise.flipped & ~self.open_set.mask
        return flips


def noisy_labels(spec: Mapping[str, Any], dataset: Dataset, folder: Path | None = None) -> NoisyLabels:
    """Inject the spec's noise into the training subset. Depends on data set, noise block and noise seed only.

    ``folder`` is where the human labels lie.
    """
    params = dict(spec["noise"])
    kind, seed = params.pop("kind"), params.pop("seed", None)
    params.pop("open_set", None)
    return inject(
        dataset.train_labels,
        kind,
        num_classes=dataset.num_classes,
        seed=spec["seed"] if seed is None else seed,
        images=dataset.train_images,
        index=dataset.train_index,
        folder=folder,
        **params,
    )


def fetch_noise_files(block: Mapping[str, Any], folder: DataFolder) -> None:
    """Download the published file that a noise needs (human labels) into the data folder, if it is not there."""
    wanted = registry.get("noise", block["kind"]).traits.get("published")
    file = wanted(block) if wanted is not None else None
    if file is not None and not (folder.path / file.name).is_file():
        download(Published(f"the file of human labels {file.name}", file.url, file.name, file.sha256), folder)


def open_set_noise(spec: Mapping[str, Any], dataset: Dataset, seed: int, folder: DataFolder) -> OpenSet:
    """Replace training images as the spec's noise says; the open-set images a data set brings itself count too.

    Labels are injected apart from this: an image may be replaced whether its label is flipped or not.
    """
    wanted = spec["noise"].get("open_set")
    if wanted is None:
        return present(dataset.train_images, dataset.train_open)
    others = other_images(wanted["from"], folder)
    return replace_images(dataset.train_images, others, rate=wanted["rate"], seed=seed, already=dataset.train_open)


def resolve_files(spec: Mapping[str, Any], folder: DataFolder) -> dict[str, Any]:
    """The spec with every file that a component names replaced by its place on this machine.

    The content must be what the run's identity was made from; DataError where the file has changed since.
    """
    resolved: dict[str, Any] = copy.deepcopy(dict(spec))
    for path, expected in spec.get("files", {}).items():
        *parents, key = path.split(".")
        block = resolved
        for parent in parents:
            block = block[parent]
        place = folder.resolve(block[key])
        if hashlib.sha256(place.read_bytes()).hexdigest() != expected:
            raise DataError(f"{place}: it changed since the suite was read ({path}); run the suite again")
        block[key] = str(place)
    resolved["noise"] = _where_it_lies(resolved["noise"], folder)
    return resolved


def _where_it_lies(node: Any, folder: DataFolder) -> Any:
    """A noise block with the names of files that were moved to this machine replaced by their places."""
    if isinstance(node, Mapping):
        return {key: _where_it_lies(value, folder) for key, value in node.items()}
    if isinstance(node, list):
        return [_where_it_lies(value, folder) for value in node]
    return str(folder.moved[node]) if isinstance(node, str) and node in folder.moved else node


def gather(spec: Mapping[str, Any], folder: DataFolder, store: Store) -> Materials:
    """Data, noise, hold-out and, for a student, the predictions of its teacher."""
    dataset = load_subset(spec, folder)
    spec = resolve_files(spec, folder)
    fetch_noise_files(spec["noise"], folder)
    noise = keep_noise(spec, folder, lambda: noisy_labels(spec, dataset, folder.path))
    index, holdout = split_holdout(noise.labels, spec["dataset"]["validation"], noise.seed)
    open_set = open_set_noise(spec, dataset, noise.seed, folder)
    return Materials(spec, dataset, noise, open_set, index, holdout, _teacher(spec, store, len(noise.labels)))


def _teacher(spec: Mapping[str, Any], store: Store, size: int) -> Teacher | None:
    run_id = spec["method"]["relabel"]
    if run_id is None:
        return None
    record, found = store.read_record(run_id), store.predictions(run_id)
    if record is None or record["result"]["status"] != "finished" or found is None:
        raise StoreError(f"relabel: the predictions of {run_id} are missing; run the suite again to redo it")
    labels, content = found
    if len(labels) != size:
        raise StoreError(f"relabel: {run_id} predicted {len(labels)} images, this run has {size}")
    return Teacher(run_id, labels, content, int(record["result"]["gradient_evaluations"]))


def make_task(materials: Materials, numerics: Numerics, check_stop: Any) -> Task:
    """Move everything an algorithm may see to the device."""
    dataset, device = materials.dataset, torch.device(numerics.device)

    def as_tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    def oracle() -> Oracle:
        wrong = materials.flipped | materials.open_set.mask
        return Oracle(float(wrong.mean()), as_tensor(dataset.train_labels).clone())

    return Task(
        materials.spec,
        images=as_tensor(materials.open_set.images),
        labels=as_tensor(materials.labels).clone(),  # an algorithm may correct them
        index=as_tensor(materials.index),
        holdout=as_tensor(materials.holdout),
        num_classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        numerics=numerics,
        oracle=oracle,
        check_stop=check_stop,
    )


def make_truth(materials: Materials, device: torch.device) -> tuple[Truth, tuple[Tensor, Tensor]]:
    """Injected and clean labels, and the test set, on the device; the trainer's own, nothing that a task has."""
    dataset = materials.dataset
    truth = Truth(
        torch.from_numpy(materials.noise.labels).to(device),
        torch.from_numpy(dataset.train_labels).to(device),
        torch.from_numpy(materials.open_set.mask).to(device),
    )
    test = torch.from_numpy(dataset.test_images).to(device), torch.from_numpy(dataset.test_labels).to(device)
    return truth, test
