"""What keeps runs from being trained here and is known before any is: packages and data that are not here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from noisybench import registry
from noisybench.data import DataFolder, is_available, load_dataset
from noisybench.errors import DataError, MissingExtra
from noisybench.spec import RunSpec, at, canonical_json


def without_package(runs: Iterable[RunSpec]) -> list[RunSpec]:
    """The runs whose algorithm needs an optional package that is not installed."""
    return [spec for spec in runs if (extra := _extra(_algorithm(spec))) is not None and not _installed(extra)]


def missing_packages(runs: Iterable[RunSpec], cells: Iterable[Mapping[str, Any]]) -> list[MissingExtra]:
    """What to say about ``without_package``: one error an algorithm. ``cells`` (of a plan) know the methods' names."""
    names = {run_id: f"'{cell['method']}'" for cell in cells for run_id in cell["runs"].values()}
    methods: dict[str, list[str]] = {}
    for spec in without_package(runs):
        methods.setdefault(_algorithm(spec), []).append(names.get(spec.run_id, spec.run_id))
    errors = []
    for algorithm, those in methods.items():
        extra = str(_extra(algorithm))
        purpose = f"method {', '.join(dict.fromkeys(those))} (algorithm '{algorithm}')"
        errors.append(MissingExtra(extra, extra, purpose))
    return errors


def missing_data(runs: Iterable[RunSpec], folder: DataFolder) -> list[DataError]:
    """One error for each data set that lies at a path and is not there. What can be downloaded is no obstacle."""
    blocks = {canonical_json(block): block for spec in runs for block in _data_of(spec)}
    errors = []
    for block in blocks.values():
        if block.get("path") and not is_available(block, folder):
            try:
                load_dataset(block, folder, download=False)
            except DataError as error:
                errors.append(error)
    return errors


def _algorithm(spec: RunSpec) -> str:
    return str(spec.data["method"]["algorithm"]["name"])


def _extra(algorithm: str) -> str | None:
    """The extra of noisybench that brings the package a built-in algorithm imports; both have one name."""
    component = registry.get("algorithm", algorithm)
    extra: str | None = component.traits.get("extra") if component.origin is None else None
    return extra


def _installed(package: str) -> bool:
    return sys.modules.get(package) is not None or importlib.util.find_spec(package) is not None


def _data_of(spec: RunSpec) -> Iterator[Mapping[str, Any]]:
    yield spec.data["dataset"]
    others = at(spec.data, "noise.open_set.from")
    if others:
        yield others
