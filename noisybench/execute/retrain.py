"""A run trained again from its spec, in a folder of its own, and held against its record."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noisybench.data import DataFolder
from noisybench.errors import NoisybenchError
from noisybench.execute.finding import BITWISE, Finding, device_for, expected_level, note_identity, read_record
from noisybench.spec import RunSpec
from noisybench.store import Store
from noisybench.train.trainer import train

SAME_ANYWHERE = ("status", "data", "noise", "epochs", "gradient_evaluations")
"""Parts of a result that do not depend on the machine."""
SPREAD = 2.576
"""Two runs of one spec on two machines may differ by what chance moves in 99 of 100 cases."""


def retrain(home: Path, folder: DataFolder, *, device: str | None = None) -> Finding:
    """Train the run in ``home`` once more and compare ``result_sha256`` (bitwise), or say how far off it is."""
    home = home.resolve()
    found = Finding(home.name)
    record = read_record(home)
    if isinstance(record, str):
        found.wrong.append(record)
        return found
    result = record["result"]
    if result["status"] == "failed":
        found.open.append(
            f"the run failed ({record['provenance'].get('error')}); there is no result to hold it against"
        )
        return found
    if not note_identity(found, result["spec"]):
        if not found.open:
            found.open.append(f"{found.notes.pop()}; it can be trained again under the version that made it")
        return found
    device = device or device_for(record)
    found.level, why = expected_level(record, device)
    if why:
        found.notes.append(f"statistical only: {why}")
    try:
        again = _train_again(home, record, folder, device)
    except (NoisybenchError, OSError) as error:
        found.open.append(str(error))
        return found
    except Exception as error:  # a method, or memory, may raise anything
        found.open.append(f"it cannot be trained here: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        return found
    if again["result_sha256"] == record["result_sha256"]:
        found.level = BITWISE
        found.notes.clear()
        found.held.append("trained again, with the same result bit for bit")
        return found
    if found.level == BITWISE:
        found.wrong.append(f"trained again, with another result: {_first_differences(result, again['result'])}")
        return found
    found.wrong += list(_other_facts(result, again["result"]))
    if not found.wrong and result["status"] == "finished":
        _hold_accuracy(found, result, again["result"])
    return found


def _train_again(home: Path, record: Mapping[str, Any], folder: DataFolder, device: str) -> dict[str, Any]:
    spec = RunSpec(record["result"]["spec"], home.name)
    with tempfile.TemporaryDirectory(prefix="noisybench-verify-") as place:
        store = Store(Path(place) / "store")
        store.folder(spec.run_id).mkdir(parents=True)
        if spec.teacher is not None:
            _lend_teacher(Store(home.parent).folder(spec.teacher), store.folder(spec.teacher))
        threads = int(record["provenance"].get("threads") or 1)
        return train(spec, store, folder, device=device, threads=threads, keep_weights="no")


def _lend_teacher(teacher: Path, place: Path) -> None:
    """What a student reads of its teacher; where it is missing, ``gather`` says so."""
    place.mkdir(parents=True)
    for name in ("record.json", "predictions.npz"):
        if (teacher / name).is_file():
            shutil.copyfile(teacher / name, place / name)


def _other_facts(result: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    for key in SAME_ANYWHERE:
        texts = [text for path, text in _differences(result, again) if path == key or path.startswith(f"{key}.")]
        yield from texts


def _hold_accuracy(found: Finding, result: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """Last-epoch test accuracy within what the size of the test set leaves to chance."""
    before, now = float(result["test_accuracy"]["last"]), float(again["test_accuracy"]["last"])
    share, size = (before + now) / 200, int(result["data"]["test_size"])
    # a test set on which nobody errs still allows one image each way
    allowed = 100 * max(SPREAD * math.sqrt(2 * share * (1 - share) / size), 1 / size)
    text = (
        f"trained again: {now:.2f} % on the test set, {now - before:+.2f} points from the record; "
        f"{size:,} test images leave {allowed:.2f} points to chance (99 %)"
    )
    if abs(now - before) <= allowed:
        found.held.append(text)
    else:
        found.wrong.append(text)


def _first_differences(result: Mapping[str, Any], again: Mapping[str, Any], limit: int = 3) -> str:
    texts = [text for _, text in _differences(result, again)]
    more = len(texts) - limit
    return "; ".join(texts[:limit]) + (f"; and {more} more" if more > 0 else "")


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """``(path, "path is NOW, recorded BEFORE")`` of what differs, as records write it."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif not _equal(before, now):
        yield path, f"{path} is {_short(now)}, recorded {_short(before)}"


def _equal(a: Any, b: Any) -> bool:
    if (isinstance(a, float) and isinstance(b, str)) or (isinstance(b, float) and isinstance(a, str)):
        return str(a) == str(b)  # nan and inf, which records hold as words
    return bool(a == b)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:20] + "..."
