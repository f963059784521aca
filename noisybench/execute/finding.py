"""What verifying a run found, which runs there are to verify, and how equal a repetition must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from noisybench.errors import InputError, NoisybenchError, UnknownName
from noisybench.spec import RunSpec
from noisybench.store import Store
from noisybench.suite.grammar import DEFAULTS
from noisybench.train.machine import environment

BITWISE, STATISTICAL = "bitwise", "statistical"


@dataclass
class Finding:
    """What was found about one run.

    ``level``: at which of the two levels it was held against its record. ``wrong``: what contradicts the record;
    ``open``: what could not be looked at, with the remedy; ``held``: what was found as recorded; ``notes``: the rest.
    """

    run_id: str
    level: str = BITWISE
    held: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool | None:
        """True, False, or None where it could not be said."""
        return False if self.wrong else None if self.open else True


def find_runs(place: Path) -> list[Path]:
    """The folders of settled runs in a store, or the one folder of a run (or its ``record.json``)."""
    if place.name == "record.json" and place.is_file():
        return [place.parent]
    if (place / "record.json").is_file():
        return [place]
    found = sorted(path.parent for path in place.glob("*/record.json")) if place.is_dir() else []
    if not found:
        what = "no settled run in it" if place.is_dir() else "no such folder"
        raise InputError(f"{place}: {what}; name the folder of a run (runs/<suite>/<run id>) or of a suite")
    return found


def read_record(home: Path) -> dict[str, Any] | str:
    """The record in a run's folder, or what is wrong with it."""
    home = home.resolve()
    try:
        found = Store(home.parent).read_record(home.name)
    except ValueError as error:
        return f"record.json: {error}"
    if found is None:
        return "record.json: missing"
    return found


def device_for(record: Mapping[str, Any]) -> str:
    """The kind of device a run was trained on, where this machine has it; else the CPU."""
    on_gpu = str(record["provenance"].get("device", "")).startswith("cuda")
    return "cuda" if on_gpu and torch.cuda.is_available() else "cpu"


def note_identity(found: Finding, spec: Mapping[str, Any]) -> bool:
    """Whether this version of everything gives the spec the same run id; a note where it does not."""
    try:
        run_id = RunSpec.of(spec, defaults=DEFAULTS).run_id
    except UnknownName as error:
        found.open.append(unknown(error))
        return False
    except NoisybenchError as error:
        found.open.append(f"{error} (a plug-in's? name it with --plugin)")
        return False
    if run_id != found.run_id:
        found.notes.append(
            "a component's version, a plug-in or the training protocol has changed since: the same run would have "
            f"another id today ({run_id[-12:]})"
        )
    return run_id == found.run_id


def unknown(error: UnknownName) -> str:
    """A component that is not registered here, without the list of those that are."""
    return f"{error.message.partition(';')[0]} here; name its file with --plugin"


def expected_level(record: Mapping[str, Any], device: str) -> tuple[str, str]:
    """How equal a repetition here must be, and why no more than that."""
    provenance = record["provenance"]
    if not provenance.get("bitwise"):
        if str(provenance.get("device", "")).startswith("cuda"):
            return STATISTICAL, "it was trained on a GPU"
        return STATISTICAL, "its record is not bitwise (it went on under other versions or on another processor)"
    known = (provenance.get("environments") or [None])[0]
    here = environment(device)
    if device != "cpu":
        return STATISTICAL, "it was trained on a CPU and is verified on a GPU"
    if known is None:
        return STATISTICAL, "its record does not say under which versions it was trained"
    changed = [f"{key} {known.get(key)}, here {value}" for key, value in here.items() if known.get(key) != value]
    return (STATISTICAL, f"trained under {'; '.join(changed)}") if changed else (BITWISE, "")
