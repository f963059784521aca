"""Overrides (``when``, ``set``, ``skip``) and the conditions they share with ``--only``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisybench.registry import did_you_mean, shown
from noisybench.spec import canonical_json
from noisybench.suite.axes import flat
from noisybench.suite.grammar import whole_path
from noisybench.suite.merge import unfold
from noisybench.suite.reading import Node, plain

OVERRIDE_KEYS = ("when", "set", "skip")
NEVER_SET = {"dataset": "the data set", "noise": "the noise", "seed": "a seed", "seeds": "the seeds"}
LABELLED = ("dataset", "noise", "model", "method")
RATE_PATHS = ("noise", "noise.rate", "noise.kind", "noise.open_set", "noise.open_set.rate")


@dataclass(frozen=True)
class Condition:
    """``path`` has one of ``values``."""

    path: str
    values: tuple[Any, ...]
    node: Node


@dataclass(frozen=True)
class Override:
    """One entry of ``overrides``: where it holds, and what it sets there (None: the runs are skipped)."""

    when: tuple[Condition, ...]
    change: Node | None
    node: Node

    @property
    def knows_rate(self) -> bool:
        """It sets something by noise rate or kind, which a user of real data would not know."""
        return self.change is not None and any(condition.path in RATE_PATHS for condition in self.when)


def read_overrides(node: Node | None, methods: Sequence[str]) -> tuple[Override, ...]:
    """The checked ``overrides`` list."""
    if node is None or node.value is None:
        return ()
    if not node.is_list:
        raise node.error("must be a list of {when: ..., set: ...}")
    return tuple(_read_override(item, methods) for item in node.value)


def _read_override(node: Node, methods: Sequence[str]) -> Override:
    if not node.is_mapping:
        raise node.error(f"must be {{when: ..., set: ...}}, not {shown(plain(node))}")
    for key, item in node.value.items():
        if key not in OVERRIDE_KEYS:
            raise item.error(
                f"an override has no key '{key}'{did_you_mean(str(key), OVERRIDE_KEYS)}; it takes: when, set, skip"
            )
    when, change, skip = (node.get(key) for key in OVERRIDE_KEYS)
    if when is None or not when.is_mapping or not when.value:
        raise (when or node).error("needs 'when', a mapping of at least one condition")
    if (change is None) == (skip is None):
        raise node.error("needs either 'set' or 'skip: true'")
    if skip is not None and skip.value is not True:
        raise skip.error(f"must be true, not {shown(plain(skip))}")
    conditions = tuple(_conditions(when, methods))
    if change is None:
        return Override(conditions, None, node)
    for condition in conditions:
        if condition.path == "seed":
            raise condition.node.error("'set' may not depend on the seed; only 'skip' may")
    if not change.is_mapping or not change.value:
        raise change.error("must be a mapping of at least one key to its new value")
    for key, item in change.value.items():
        first = str(key).split(".")[0]
        if first in NEVER_SET:
            raise item.error(
                f"an override may not change {NEVER_SET[first]}; it may set model, training and method keys"
            )
    allowed = {"model": "", "training": "", "method": ""}
    return Override(conditions, unfold(change, allowed, what="an override's 'set'"), node)


def _conditions(node: Node, methods: Sequence[str], prefix: tuple[str | int, ...] = ()) -> Iterable[Condition]:
    for key, item in node.value.items():
        parts = (*prefix, *(key.split(".") if isinstance(key, str) else (key,)))
        if not prefix:
            parts = whole_path(parts)
        if item.is_mapping:
            yield from _conditions(item, methods, parts)
            continue
        path = ".".join(str(part) for part in parts)
        values = item.value if item.is_list else [item]
        if not values:
            raise item.error("needs at least one value")
        if path == "method":
            for value in values:
                name = value.value
                if not isinstance(name, str) or (name not in methods and name.split("[")[0] not in methods):
                    raise value.error(
                        f"no method {shown(name)}{did_you_mean(str(name), methods)}; there are: {', '.join(methods)}"
                    )
        options = tuple(plain(value) for value in values)
        yield Condition(path, (*options, list(options)) if item.is_list else options, item)


# -- matching ----------------------------------------------------------------------------------------------------------


def value_at(data: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Whether a cell has a value at a path, and the value. What a wrapper does not have is looked for in its base."""
    node: Any = data
    for part in path.split("."):
        while isinstance(node, Mapping) and part not in node and isinstance(node.get("base"), Mapping):
            node = node["base"]
        if isinstance(node, Mapping) and part not in node and part.lstrip("-").isdigit() and int(part) in node:
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return False, None
    return True, node


def matches(condition: Condition, facts: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a cell meets a condition. ``names``: what its method, data set, noise and model may be called."""
    if condition.path in LABELLED:
        return any(value in names[condition.path] for value in condition.values if isinstance(value, str))
    found, value = value_at(facts, condition.path)
    if not found:
        return False
    mine = canonical_json(named(value))
    return any(canonical_json(option) == mine for option in condition.values)


def named(value: Any) -> Any:
    """A component by its name; any other value as it is."""
    return value["name"] if isinstance(value, Mapping) and "name" in value else value


def known_paths(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every path that a condition may name, as short as it may be written."""
    paths = dict.fromkeys((*LABELLED, "seed"))
    for data in cells:
        for path in flat(data):
            if path.startswith(("training.", "method.")):
                path = path.partition(".")[2]
            paths[path.replace(".base.", ".")] = None
            parts = path.split(".")
            for end in range(1, len(parts)):
                paths[".".join(parts[:end])] = None
    return [path for path in paths if path not in ("training",)]


def is_known(path: str, cells: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any cell has a value at the path."""
    return path in (*LABELLED, "seed") or any(value_at(data, path)[0] for data in cells)
