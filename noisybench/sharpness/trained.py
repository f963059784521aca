"""A finished run, rebuilt: its network with the trained weights, its images, its clean and noisy labels."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noisybench.data import DataFolder
from noisybench.data.augment import normalise
from noisybench.errors import InputError
from noisybench.losses import build_loss
from noisybench.methods.task import Numerics, Task
from noisybench.seeding import torch_generator
from noisybench.sharpness.objective import Loss, Objective
from noisybench.store import Store
from noisybench.train.setup import gather, make_task, make_truth

SETS = ("train-noisy", "train-clean", "test")
"""Training images with the labels they were given; the same images with their true labels; test images."""


@dataclass(frozen=True)
class TrainedRun:
    """``images`` uint8 and ``labels`` int64 of each of ``SETS``, on the device; ``model`` in eval mode."""

    run_id: str
    record: Mapping[str, Any]
    model: nn.Module
    task: Task
    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    dtype: torch.dtype

    def objective(self, name: str, limit: int = 0, loss: str = "ce") -> Objective:
        """The mean loss on one of ``SETS``, or on ``limit`` of its images (0: all), the same for every run on them.

        ``loss``: ``ce``, comparable between runs, or ``own``, the loss the run was trained with.
        """
        images, labels = self.images[name], self.labels[name]
        if 0 < limit < len(labels):
            order = torch.randperm(len(labels), generator=torch_generator(0, "sharpness", "images"))
            rows = order[:limit].sort().values.to(labels.device)
            images, labels = images[rows], labels[rows]
        x = normalise(images, self.task.mean, self.task.std, self.dtype)
        chosen: Loss = self.task.loss if loss == "own" else build_loss("ce")
        return Objective(self.model, x, labels, chosen)


def load_run(home: Path, data: DataFolder, *, device: str = "cpu", network: int = 0) -> TrainedRun:
    """Rebuild the run in ``runs/<suite>/<run id>``. In float64 on a CPU, in float32 elsewhere.

    ``network``: which one, of a method that trains several. Raises InputError, with the remedy, where the run did not
    finish, kept no weights, or its weights or data are not those of its record.
    """
    store = Store(home.resolve().parent)
    run_id = home.resolve().name
    record = _record(store, run_id, home)
    result = record["result"]
    materials = gather(result["spec"], data, store)
    if (
        materials.dataset.fingerprint != result["data"]["fingerprint"]
        or materials.noise.sha256 != result["noise"]["sha256"]
    ):
        raise InputError(f"{home}: the data or the noise found now are not those the run was trained on")
    task = make_task(materials, Numerics(device, "fp32", False, 1, False), lambda: None)
    truth, test = make_truth(materials, task.device)
    model = task.model()
    model.load_state_dict(_weights(home, record, network, device))
    dtype = torch.float64 if task.device.type == "cpu" else torch.float32
    model.to(dtype).eval()
    known = task.index[~truth.open_set[task.index]]  # an image of no class has no clean label
    return TrainedRun(
        run_id,
        record,
        model,
        task,
        images={"train-noisy": task.images[task.index], "train-clean": task.images[known], "test": test[0]},
        labels={"train-noisy": truth.noisy[task.index], "train-clean": truth.clean[known], "test": test[1]},
        dtype=dtype,
    )


def _record(store: Store, run_id: str, home: Path) -> dict[str, Any]:
    try:
        record = store.read_record(run_id)
    except ValueError as error:
        raise InputError(f"{home / 'record.json'}: {error}") from error
    if record is None:
        raise InputError(f"{home}: not the folder of a settled run (runs/<suite>/<run id>): it has no record.json")
    if record["result"]["status"] != "finished":
        raise InputError(f"{home}: the run {record['result']['status']} and left no weights to look at")
    return record


def _weights(home: Path, record: Mapping[str, Any], network: int, device: str) -> dict[str, Tensor]:
    path, claimed = home / "model.pt", record["provenance"].get("files", {}).get("model.pt")
    if claimed is None or not path.exists():
        raise InputError(f"{home}: the run kept no weights; run its suite with --keep-weights all")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != claimed:
        raise InputError(f"{path}: damaged (its checksum is not the one in the record)")
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    several = all(key.partition(".")[0].isdigit() and "." in key for key in state) and _prefixed(record, state)
    if not several:
        if network:
            raise InputError(f"{home}: the run has one network; --network 0 is all there is")
        return state
    chosen = {key.partition(".")[2]: value for key, value in state.items() if key.partition(".")[0] == str(network)}
    if not chosen:
        raise InputError(f"{home}: the run has no network {network}")
    return chosen


def _prefixed(record: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """True where the keys are ``<network>.<key>``: a network's own keys may begin with a number too."""
    from noisybench.models import build_model

    result = record["result"]
    params, data = dict(result["spec"]["model"]), result["data"]
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = build_model(params.pop("name"), tuple(data["shape"]), data["num_classes"], **params)
    return set(model.state_dict()) != set(state)
