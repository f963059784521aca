"""What a finished run leaves: predictions, weights, curves, and the record, which is written last."""

from __future__ import annotations

import hashlib
import io
import math
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from noisybench.spec import RunSpec
from noisybench.store import Store, set_aside, write_arrays, write_atomic
from noisybench.train import checkpoint, origin
from noisybench.train.detection import detect
from noisybench.train.evaluation import closed_index, confusion, training_diagnostics
from noisybench.train.machine import describe, now
from noisybench.train.numerics import cuda_settings
from noisybench.train.setup import Materials

if TYPE_CHECKING:
    from noisybench.train.trainer import Run

SMALL_WEIGHTS = 16 * 2**20
"""``--keep-weights auto`` keeps weights below this many bytes of every seed, larger ones of the first seed only."""


def write(run: Run, status: str) -> dict[str, Any]:
    """Write everything a run that ended as ``finished`` or ``diverged`` leaves; returns the record."""
    run.check_writable()
    with run.clock.measure("evaluate", run.device):
        final = _final_diagnostics(run) if status == "finished" else None
    files: dict[str, str] = {}
    if final is not None:
        files["predictions.npz"] = write_arrays(
            run.home / "predictions.npz", {"train": _small(final["train"]), "test": _small(final["test"])}
        )
        files["correct.npz"] = write_arrays(run.home / "correct.npz", correct(final["right"]))
        if final["detection"] is not None:
            files["scores.npz"] = write_arrays(run.home / "scores.npz", final["detection"].scores)
        files |= _write_weights(run)
    rows, last_phase = run.progress.rows, run.phases[-1].epochs
    columns = curves(rows, run.materials, final["confusion"] if final else None)
    content = write_arrays(run.home / "curves.npz", columns)
    result = {
        "spec": run.spec.data,
        "status": status,
        **origin.describe(run.materials),
        "test_accuracy": selected(rows, last_phase) if status == "finished" else None,
        "holdout_accuracy": selected_holdout(rows, last_phase) if status == "finished" else None,
        "epochs": len(rows),
        "final": _final(run, final),
        "gradient_evaluations": run.progress.gradient_evaluations
        + (run.materials.teacher.gradient_evaluations if run.materials.teacher else 0),
        "details": {key: float(value) for key, value in run.algorithm.details().items()},
        **({"detection": final["detection"].judged} if final and final["detection"] else {}),
        "curves_sha256": content,
    }
    provenance = _provenance(run) | {"files": files, "error": None, "traceback": None}
    run.check_writable()
    record = run.store.write_record(run.spec.run_id, result, provenance)
    checkpoint.remove(run.home)
    origin.forget(run.home)
    return record


def write_failure(
    store: Store,
    spec: RunSpec,
    error: BaseException | str,
    *,
    device: str,
    trace: str | None = None,
    place: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Settle a run that raised, ran out of memory or time, or was killed; ``trace``: where, if somebody knows.

    Data and noise are in the record where the run had come so far as to know them.
    """
    text = error if isinstance(error, str) else _describe(error)
    if isinstance(error, BaseException):
        trace = "".join(traceback.format_exception(error))
    home = store.folder(spec.run_id)
    result = {"spec": spec.data, "status": "failed", **origin.noted(home), "test_accuracy": None, "final": None}
    first = next((line for line in text.splitlines() if line.strip()), "unknown")
    told = {"error": _writable(first), "traceback": None if trace is None else _writable(trace), "finished": now()}
    store.check(spec.run_id)
    record = store.write_record(spec.run_id, result, told | describe(device) | {"place": dict(place or {})})
    origin.forget(home)
    return record


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # a method's own error class may be broken too
        return name
    return f"{name}: {text}" if text else name


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def set_checkpoint_aside(home: Path) -> None:
    """Keep checkpoints that belong to other data under another name."""
    for name in (checkpoint.NAME, checkpoint.PREVIOUS):
        if (home / name).exists():
            set_aside(home / name, "stale")


# -- accuracy under each selection rule -----------------------------------------------------------------------------


def selected(rows: list[dict[str, Any]], last_phase: int) -> dict[str, Any]:
    """Test accuracy in percent under each rule, over the epochs of the last phase, and the epoch of the best.

    last: the last epoch. last10: the mean of its last ten epochs (of all, if there are fewer). validation: at the
    epoch of the best hold-out accuracy, the earliest of equals; None without a hold-out. best: the maximum, an oracle.
    """
    rows = rows[-last_phase:]
    accuracy = [row["test_accuracy"] for row in rows]
    best = max(range(len(rows)), key=lambda i: (accuracy[i], -i))
    return _under_rules(rows, "test_accuracy", best) | {"best_epoch": rows[best]["epoch"]}


def selected_holdout(rows: list[dict[str, Any]], last_phase: int) -> dict[str, Any] | None:
    """Hold-out accuracy in percent at the epochs that ``selected`` looks at; None without a hold-out."""
    rows = rows[-last_phase:]
    if "holdout_accuracy" not in rows[0]:
        return None
    best = max(range(len(rows)), key=lambda i: (rows[i]["test_accuracy"], -i))
    return _under_rules(rows, "holdout_accuracy", best)


def _under_rules(rows: list[dict[str, Any]], column: str, best: int) -> dict[str, Any]:
    values, chosen = [row[column] for row in rows], None
    if "holdout_accuracy" in rows[0]:
        chosen = max(range(len(rows)), key=lambda i: (rows[i]["holdout_accuracy"], -i))
    return {
        "last": values[-1],
        "last10": float(np.mean(values[-10:])),
        "validation": None if chosen is None else values[chosen],
        "best": values[best],
    }


# -- parts of the record --------------------------------------------------------------------------------------------


def _final_diagnostics(run: Run) -> dict[str, Any]:
    """Final classes of all training and test images, and the diagnostics on the whole training part."""
    task, predict = run.task, run.algorithm.predict
    logits = task.evaluate(predict, task.images)
    train = logits.argmax(dim=1)
    test = task.evaluate(predict, run.test[0]).argmax(dim=1)
    index = closed_index(task, run.truth)
    shares = training_diagnostics(train[index], run.truth.noisy[index], run.truth.clean[index])
    wanted = run.training.get("detection", False)
    found = detect(logits, run.truth, task.index, run.spec.seed, run.algorithm.suspicion()) if wanted else None
    return {
        "detection": found,
        "train": train.cpu().numpy(),
        "test": test.cpu().numpy(),
        "right": (test == run.test[1]).cpu().numpy(),
        "confusion": confusion(test, run.test[1], task.num_classes),
        "shares": {key: float(value) for key, value in shares.items()},
    }


def _final(run: Run, final: dict[str, Any] | None) -> dict[str, Any]:
    row = run.progress.rows[-1]
    shares = final["shares"] if final else {}
    out = {"train_loss": row["train_loss"], "test_loss": row["test_loss"], "test_accuracy": row["test_accuracy"]}
    out |= {
        key: shares.get(key, row.get(key)) for key in ("noisy_accuracy", "clean_accuracy", "memorised", "corrected")
    }
    if out["memorised"] is not None and math.isnan(out["memorised"]):
        out["memorised"] = out["corrected"] = None  # nothing was flipped
    if final and run.task.num_classes <= origin.LARGE_MATRIX:
        out["confusion"] = final["confusion"].tolist()
    return out


def curves(rows: list[dict[str, Any]], materials: Materials, counts: np.ndarray | None) -> dict[str, np.ndarray]:
    """Content of ``curves.npz``; ``counts``: the final test confusion of a run that finished."""
    columns = {key: np.array([row[key] for row in rows], dtype=np.float64) for key in rows[0] if key != "phase"}
    columns["phase"] = np.array([row["phase"] for row in rows])
    if counts is not None:
        columns["confusion"] = counts
    if materials.dataset.num_classes > origin.LARGE_MATRIX:
        columns["transition"] = origin.transition(materials)
    return columns


def correct(right: np.ndarray) -> dict[str, np.ndarray]:
    """Content of ``correct.npz``: bool ``[N]``, which test images the final network gets right."""
    return {"correct": np.packbits(right), "images": np.array(len(right))}


def _small(classes: np.ndarray) -> np.ndarray:
    return classes.astype(np.uint8 if classes.max(initial=0) < 256 else np.int32)


def _write_weights(run: Run) -> dict[str, str]:
    state = {
        f"{number}.{key}" if len(run.task.models) > 1 else key: value.cpu()
        for number, model in enumerate(run.task.models)
        for key, value in model.state_dict().items()
    }
    size = sum(value.numel() * value.element_size() for value in state.values())
    if run.keep_weights == "no" or (run.keep_weights == "auto" and size >= SMALL_WEIGHTS):
        return {}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(run.home / "model.pt", buffer.getvalue(), parents=False)
    return {"model.pt": hashlib.sha256(buffer.getvalue()).hexdigest()}


def _provenance(run: Run) -> dict[str, Any]:
    seconds = {key: round(value, 3) for key, value in run.clock.seconds.items()}
    seconds["total"] = round(sum(seconds.values()), 3)
    numerics = run.numerics
    return {
        "seconds": seconds,
        "images_per_second": round(run.progress.images / max(run.clock.seconds["train"], 1e-9), 1),
        "precision": numerics.precision,
        "compile": numerics.compile,
        "compile_error": numerics.compile_error,
        "capture": numerics.capture,
        "capture_error": numerics.capture_error,
        "cuda": cuda_settings(numerics.device),
        "threads": numerics.threads,
        "channels_last": numerics.channels_last,
        "resumes": run.progress.resumes,
        "bitwise": run.device.type == "cpu" and len(run.progress.environments) <= 1,
        "environments": run.progress.environments,
        "started": run.progress.started,
        "finished": now(),
        "place": run.place,
    } | describe(numerics.device)
