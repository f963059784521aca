"""Does a record still hold? What a run left is read again, and its stored weights are evaluated again.

Nothing here writes. Training a run again is ``noisybench.execute.retrain``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisybench import registry
from noisybench.data import DataFolder
from noisybench.errors import NoisybenchError, UnknownName
from noisybench.execute.answers import best_answer
from noisybench.execute.finding import (
    BITWISE,
    STATISTICAL,
    Finding,
    device_for,
    expected_level,
    note_identity,
    read_record,
    unknown,
)
from noisybench.methods.task import Numerics, Task
from noisybench.store import Store, damage, read_arrays
from noisybench.train import record as records
from noisybench.train.evaluation import Truth, closed_index, confusion, training_diagnostics
from noisybench.train.machine import out_of_memory
from noisybench.train.setup import Materials, gather, make_task, make_truth

CLOSE = 0.01
"""Share of predictions that other hardware or another torch may change on the same weights."""


def verify(home: Path, folder: DataFolder, *, device: str | None = None) -> Finding:
    """Hold a run's record against its files, its data and labels, and its stored weights; ``device``: see
    ``device_for``."""
    home = home.resolve()
    found = Finding(home.name)
    record = read_record(home)
    if isinstance(record, str):
        found.wrong.append(record)
        return found
    result = record["result"]
    if result["status"] == "failed":
        found.open.append(f"the run failed ({record['provenance'].get('error')}) and left nothing to verify")
        return found
    found.wrong += [text.replace(f"{home}/", "") for text in damage(home, record).values()]
    if not found.wrong:
        found.held.append("files")
    note_identity(found, result["spec"])
    try:
        _against_data(found, home, record, folder, device or device_for(record))
    except UnknownName as error:
        found.open += [text for text in [unknown(error)] if text not in found.open]
    except (NoisybenchError, OSError) as error:
        found.open.append(f"{error}")
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        found.open.append("there is not enough memory to evaluate it")
    return found


# -- data, labels, curves, predictions ------------------------------------------------------------------------------


def _against_data(found: Finding, home: Path, record: Mapping[str, Any], folder: DataFolder, device: str) -> None:
    result, provenance = record["result"], record["provenance"]
    store = Store(home.parent)
    torch.set_num_threads(int(provenance.get("threads") or 1))
    materials = gather(result["spec"], folder, store)
    wrong = list(_other_data(result, materials))
    if wrong:
        found.wrong += wrong
        return
    found.held += ["data", "labels"]
    numerics = Numerics(
        device,
        str(provenance.get("precision", "fp32")),
        False,
        int(provenance.get("threads") or 1),
        bool(provenance.get("channels_last")),
    )
    task = make_task(materials, numerics, lambda: None)
    truth, test = make_truth(materials, task.device)
    params = dict(materials.spec["method"]["algorithm"])
    algorithm = registry.get("algorithm", params.pop("name")).build(task, **params)
    _hold(found, "curves", _curves(home, result, algorithm.phases(result["spec"]["training"])[-1].epochs))
    if result["status"] == "diverged":
        found.notes.append("it diverged and left no weights")
        return
    try:
        arrays = read_arrays(home / "predictions.npz")[0]
        stored = {part: torch.from_numpy(arrays[part].astype(np.int64)).to(task.device) for part in ("train", "test")}
    except (NoisybenchError, ValueError, KeyError) as error:
        found.open.append(f"predictions.npz: {error}")
        return
    _hold(found, "predictions", _predictions(home, result, stored, task, truth, test[1]))
    _weights(found, home, record, task, algorithm, test[0], stored, test[1])


def _hold(found: Finding, what: str, wrong: Iterator[str]) -> None:
    texts = list(wrong)
    found.wrong += [text for text in texts if text not in found.wrong]
    if not texts:
        found.held.append(what)


def _other_data(result: Mapping[str, Any], materials: Materials) -> Iterator[str]:
    """Data or labels here that are not those of the record."""
    data, noise = result["data"], result["noise"]
    here = materials.dataset.fingerprint
    if here != data["fingerprint"]:
        yield f"the data here is other data (fingerprint {here[:12]}, recorded {data['fingerprint'][:12]})"
        return
    sizes = {
        "train_size": len(materials.index),
        "test_size": len(materials.dataset.test_labels),
        "holdout_size": len(materials.holdout),
    }
    yield from (f"data.{key} is {value}, recorded {data[key]}" for key, value in sizes.items() if value != data[key])
    if materials.noise.sha256 != noise["sha256"]:
        yield "the noisy labels made here are not those recorded (other hash)"
        return
    if materials.open_set.sha256 != noise.get("open_set_sha256"):
        yield "the open-set images here are not those recorded (other hash)"
    if materials.teacher is not None and materials.teacher.sha256 != noise["relabel_sha256"]:
        yield "its teacher's predictions are not those it was trained on"
    rate = float(materials.flipped[materials.index].mean())
    if not _same(rate, noise["realised_rate"]):
        yield f"the realised noise rate is {rate:.6g}, recorded {noise['realised_rate']}"


def _curves(home: Path, result: Mapping[str, Any], last_phase: int) -> Iterator[str]:
    """Accuracies of the record that its curves do not bear out."""
    try:
        columns = read_arrays(home / "curves.npz")[0]
    except (NoisybenchError, ValueError) as error:
        yield f"curves.npz: {error}"
        return
    names = [name for name in ("epoch", "test_accuracy", "holdout_accuracy") if name in columns]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(columns[n].tolist() for n in names), strict=True)]
    if len(rows) != result["epochs"]:
        yield f"curves.npz has {len(rows)} epochs, the record {result['epochs']}"
    elif result["status"] == "finished":
        pairs = {
            "test_accuracy": records.selected(rows, last_phase),
            "holdout_accuracy": records.selected_holdout(rows, last_phase) or {},
        }
        for name, values in pairs.items():
            for rule, value in values.items():
                claimed = result[name][rule]
                if not _same(value, claimed):
                    yield f"{name}.{rule} is {value} by the curves, recorded {claimed}"


def _predictions(
    home: Path,
    result: Mapping[str, Any],
    stored: Mapping[str, torch.Tensor],
    task: Task,
    truth: Truth,
    labels: torch.Tensor,
) -> Iterator[str]:
    """Numbers of the record that its stored predictions do not bear out."""
    if len(stored["test"]) != len(labels) or len(stored["train"]) != len(task.images):
        yield "predictions.npz: of other images (their number differs)"
        return
    right = stored["test"] == labels
    accuracy = 100.0 * int(right.sum()) / len(labels)
    if not _same(accuracy, result["test_accuracy"]["last"]):
        yield f"test accuracy is {accuracy:.4f} by the predictions, recorded {result['test_accuracy']['last']}"
    final = result["final"]
    if "confusion" in final and confusion(stored["test"], labels, task.num_classes).tolist() != final["confusion"]:
        yield "the confusion counts are not those of the predictions"
    index = closed_index(task, truth)
    shares = training_diagnostics(stored["train"][index], truth.noisy[index], truth.clean[index])
    for key, share in shares.items():
        value: float | None = float(share)
        if math.isnan(float(share)):
            value = None
        if not _same(value, final.get(key)):
            yield f"final.{key} is {value} by the predictions, recorded {final.get(key)}"
    if (home / "correct.npz").exists():
        try:
            arrays = read_arrays(home / "correct.npz")[0]
            kept = np.unpackbits(arrays["correct"], count=int(arrays["images"])).astype(bool)
            same = np.array_equal(kept, right.cpu().numpy())
        except (NoisybenchError, ValueError, KeyError, TypeError) as error:
            yield f"correct.npz: {error}"
        else:
            if not same:
                yield "correct.npz does not say what the predictions say"


def _same(a: float | None, b: Any) -> bool:
    if a is None or b is None:
        return a is None and b is None
    return isinstance(b, (int, float)) and math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)


# -- weights --------------------------------------------------------------------------------------------------------


def _weights(
    found: Finding,
    home: Path,
    record: Mapping[str, Any],
    task: Task,
    algorithm: Any,
    images: torch.Tensor,
    stored: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
) -> None:
    """Evaluate the stored weights and compare with the stored predictions."""
    if "model.pt" not in (record["provenance"].get("files") or {}) or not (home / "model.pt").exists():
        found.open.append("its weights were not kept, so they cannot be evaluated; --retrain trains the run again")
        return
    found.level, why = expected_level(record, str(task.device))
    if found.level == BITWISE and record["provenance"].get("compile"):
        found.level, why = STATISTICAL, "its network was compiled, and is evaluated uncompiled"
    if why:
        found.notes.append(f"statistical only: {why}")
    try:
        answer = best_answer(home / "model.pt", task, algorithm, images, stored)
    except ValueError as error:
        found.wrong.append(str(error))
        return
    if answer is None:
        found.open.append("what its method answers with is more than the stored networks; --retrain trains it again")
        return
    accuracy = 100.0 * int((answer["test"] == labels).sum()) / len(labels)
    differ = sum(int((answer[part] != stored[part]).sum()) for part in stored)
    total = sum(len(stored[part]) for part in stored)
    if not differ:
        found.held.append(f"weights ({accuracy:.2f} % on the test set, every prediction the same)")
        return
    off = f"{accuracy - record['result']['test_accuracy']['last']:+.2f} points on the test set"
    text = f"the stored weights predict {differ:,} of {total:,} images otherwise ({off})"
    if found.level == STATISTICAL and differ <= CLOSE * total:
        found.held.append("weights")
        found.notes.append(text)
    else:
        found.wrong.append(text)
