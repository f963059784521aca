"""The fully resolved description of one run, its canonical JSON, and the id made from it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from noisybench import registry

PROTOCOL = 1
"""Raised whenever trainer, seeding, split or augmentation change results; part of every run's identity."""


MAX_SLUG = 230
"""Characters of a run id before its hash: with ``.lease`` behind it an id is still a file's name."""


@dataclass(frozen=True)
class Slot:
    """Where a component sits in a spec: its path, its family and the key that holds its name."""

    path: str
    family: str
    name_key: str = "name"


SLOTS = (
    Slot("dataset", "dataset"),
    Slot("noise", "noise", "kind"),
    Slot("noise.open_set.from", "dataset"),
    Slot("model", "model"),
    Slot("training.optimizer", "optimizer"),
    Slot("training.schedule", "schedule"),
    Slot("method.algorithm", "algorithm"),
    Slot("method.loss", "loss"),
)


def at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where any part of it is missing."""
    node: Any = tree
    for part in path.split("."):
        if not (type(node) is dict or isinstance(node, Mapping)) or part not in node:  # the first is fast, and usual
            return None
        node = node[part]
    return node


def component_mappings(data: Mapping[str, Any]) -> Iterator[tuple[Slot, Mapping[str, Any]]]:
    """Every component mapping of a resolved spec with its slot; a wrapper's ``base`` is a slot of its own."""
    for slot in SLOTS:
        mapping, path = at(data, slot.path), slot.path
        while isinstance(mapping, Mapping):
            yield Slot(path, slot.family, slot.name_key), mapping
            mapping, path = mapping.get("base"), f"{path}.base"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; ``1`` and ``1.0`` are the same, non-finite numbers are strings."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or value is None:  # most values, and reports hash thousands of records
        return value
    if kind is dict or isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return (
            number(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 2**53 else number(value)
        )
    return value


def number(value: float) -> float | str:
    """A finite number as it is; otherwise the string ``nan``, ``inf`` or ``-inf``."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def sha256_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``, hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class RunSpec:
    """One run, resolved: ``dataset, noise, model, training, method, seed`` and what identifies the code behind them.

    ``data`` holds every parameter, defaults included. ``defaults`` are the defaults of the ``training`` block and of
    the keys that every data set and noise share; components bring their own.
    """

    data: Mapping[str, Any]
    run_id: str

    @staticmethod
    def of(data: Mapping[str, Any], *, defaults: Mapping[str, Mapping[str, Any]]) -> RunSpec:
        """Make a spec and its id. ``defaults``: path of a mapping -> defaults of its own (non-component) keys."""
        identity = identify(data, defaults)
        return RunSpec(data, f"{slug(data)}-{sha256_of(identity)[:12]}")

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.data["seed"])

    @property
    def teacher(self) -> str | None:
        """Run id whose predictions are this run's labels, or None."""
        relabel = at(self.data, "method.relabel")
        return None if relabel is None else str(relabel)


def identify(data: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the id is made from: the spec without defaults, places and display names, with versions and origins."""
    slots = {slot.path: (slot, mapping) for slot, mapping in component_mappings(data)}

    def reduce(node: Any, path: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        skip: dict[str, Any] = dict(defaults.get(path, {}))
        places: set[str] = set()
        if path in slots:
            slot, mapping = slots[path]
            component = registry.get(slot.family, mapping[slot.name_key])
            skip.update(component.defaults)
            places = {
                key
                for key in component.keys
                if "place" in (marks := component.markers(key))
                or ("file" in marks and not isinstance(mapping.get(key), (list, Mapping)))  # written out: no path
            }
        missing = object()
        return {
            key: reduce(item, f"{path}.{key}" if path else key)
            for key, item in node.items()
            if key not in places and not _same(item, skip.get(key, missing))
        }

    out: dict[str, Any] = reduce(data, "")
    out["protocol"] = PROTOCOL
    out["versions"] = {}
    for path, (slot, mapping) in slots.items():
        component = registry.get(slot.family, mapping[slot.name_key])
        out["versions"][path] = component.version
        if component.origin:
            out.setdefault("origins", {})[path] = component.origin
    return out


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (Mapping, list, tuple, int, float, str, bool, type(None))) and isinstance(
        b, (Mapping, list, tuple, int, float, str, bool, type(None))
    ):
        return canonical_json(a) == canonical_json(b)
    return False


def slug(data: Mapping[str, Any]) -> str:
    """A readable start for the run id: data set, noise and rate, model, method parts, seed."""
    rate = at(data, "noise.rate")
    optimizer, algorithm, loss = (
        at(data, p) for p in ("training.optimizer.name", "method.algorithm.name", "method.loss.name")
    )
    parts = [at(data, "dataset.id") or at(data, "dataset.name"), at(data, "noise.kind")]
    parts += [f"{100 * float(rate):g}"] if rate is not None else []
    parts += [at(data, "model.name")]
    parts += [algorithm] if algorithm and algorithm != "erm" else []
    parts += [loss, optimizer]
    parts += ["mixup"] if at(data, "method.mixup") else []
    parts += [at(data, "method.averaging.kind")] if at(data, "method.averaging") else []
    parts += ["relabel"] if at(data, "method.relabel") else []
    parts += [f"s{data['seed']}"]
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(str(p) for p in parts).lower()).strip("-.")[:MAX_SLUG]
