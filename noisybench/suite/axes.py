"""Axes: a list where one value belongs. Spreading a tree over them, and the names of what comes out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisybench.spec import canonical_json
from noisybench.suite.grammar import COMMON, MAX_RUNS, METHOD_BLOCKS, OPEN_SET, TRAINING, slot_at
from noisybench.suite.merge import component_of
from noisybench.suite.reading import Node, plain
from noisybench.suite.resolve import Schema, is_axis


@dataclass(frozen=True)
class Step:
    """One axis at one of its values: the spec path of the axis, the value, and how the value is written."""

    path: str
    value: Any
    text: str
    line: int = 0

    @property
    def key(self) -> str:
        """What two methods share when they state the same axis: the path without ``base``, and the value."""
        return canonical_json([self.axis, self.value])

    @property
    def axis(self) -> str:
        """The path without ``base``: a learning rate is the same axis whether SAM wraps it or not."""
        return self.path.replace(".base", "")


Spread = Iterator[tuple[tuple[Step, ...], Node]]


def spread(node: Node, path: str) -> Spread:
    """All combinations of the axes below ``node``, the first written outermost, as (steps, tree without axes)."""
    slot = slot_at(path)
    if path == "noise.open_set.from":
        yield (), node
    elif slot is not None:
        yield from _spread_component(node, path)
    elif path.startswith("method.") and path.removeprefix("method.") in METHOD_BLOCKS:
        yield from _spread_block(node, path)
    elif path == "method.relabel":
        if node.is_list:
            yield from _spread_values(node, path)
        else:
            yield (), node
    elif path == "noise.open_set" and node.is_mapping:
        yield from _spread_keys(node, path, lambda key: OPEN_SET if key in OPEN_SET.keys else None)
    elif path in ("", "training", "method") and node.is_mapping:
        schema = TRAINING if path == "training" else None
        yield from _spread_keys(node, path, lambda key: schema if schema and key in schema.keys else None)
    else:
        yield (), node


def _spread_component(node: Node, path: str) -> Spread:
    slot = slot_at(path)
    assert slot is not None
    if node.is_list:
        _refuse_empty(node)
        texts = labels([plain(item) for item in node.value], lambda entry: _head(entry, slot.name_key))
        for item, text in zip(node.value, texts, strict=True):
            step = Step(path, plain(item), text, node.line or 0)
            for steps, tree in _spread_component(item, path):
                yield (step, *steps), tree
        return
    component = component_of(node, slot)
    common = COMMON.get(slot.family)

    def schema(key: str) -> Schema | None:
        return component if key in component.keys else common if common and key in common.keys else None

    yield from _spread_keys(node, path, schema)


def _head(entry: Any, name_key: str) -> str:
    return str(entry.get(name_key)) if isinstance(entry, Mapping) else text_of(entry)


def _spread_block(node: Node, path: str) -> Spread:
    block = METHOD_BLOCKS[path.removeprefix("method.")]
    if node.is_list:
        _refuse_empty(node)
        texts = labels(
            [plain(item) for item in node.value],
            lambda entry: str(entry.get("kind", "on")) if isinstance(entry, Mapping) else text_of(entry),
        )
        for item, text in zip(node.value, texts, strict=True):
            for steps, tree in _spread_block(item, path):
                yield (Step(path, plain(item), text, node.line or 0), *steps), tree
    elif node.is_mapping:
        yield from _spread_keys(node, path, lambda key: block if key in block.keys else None)
    else:
        yield (), node


def _spread_values(node: Node, path: str) -> Spread:
    _refuse_empty(node)
    seen: dict[str, Node] = {}
    for item in node.value:
        value = plain(item)
        if canonical_json(value) in seen:
            raise item.error(f"the value {text_of(value)} is stated twice in this axis")
        seen[canonical_json(value)] = item
        yield (Step(path, value, text_of(value), node.line or 0),), item


def _refuse_empty(node: Node) -> None:
    if not node.value:
        raise node.error("an axis needs at least one value")


def _spread_keys(node: Node, path: str, schema: Callable[[str], Schema | None]) -> Spread:
    options: list[list[tuple[tuple[Step, ...], Node]]] = []
    total = 1
    for key, item in node.value.items():
        below = f"{path}.{key}" if path else str(key)
        known = schema(str(key))
        if known is not None and item.is_list and item.value == [] and not known.fits(str(key), []):
            _refuse_empty(item)
        if known is not None and is_axis(known, str(key), item):
            found = list(itertools.islice(_spread_values(item, below), MAX_RUNS + 1))
        else:
            found = list(itertools.islice(spread(item, below), MAX_RUNS + 1))
        options.append(found)
        total *= len(found)
        if total > MAX_RUNS:
            raise item.error(f"the axes here make more than {MAX_RUNS:,} combinations")
    for combination in itertools.product(*options):
        steps = tuple(step for part, _ in combination for step in part)
        yield steps, node.having({key: tree for key, (_, tree) in zip(node.value, combination, strict=True)})


# -- names -------------------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """A value as short as it can be written: 0.1, true, [60,80], {padding:4}."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{text_of(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(text_of(item) for item in value) + "]"


def labels(entries: Sequence[Any], head: Callable[[Any], str]) -> list[str]:
    """A short name for each entry: its head, and where heads are equal the keys whose values differ."""
    heads = [head(entry) for entry in entries]
    out = []
    for entry, name in zip(entries, heads, strict=True):
        alike = [flat(other) for other, other_head in zip(entries, heads, strict=True) if other_head == name]
        mine = flat(entry)
        keys = dict.fromkeys(key for other in alike for key in other)
        vary = [key for key in keys if len({canonical_json(other.get(key)) for other in alike}) > 1]
        names = short_names(vary)
        inside = ", ".join(f"{names[key]}={text_of(mine[key])}" for key in vary if key in mine)
        out.append(f"{name}[{inside}]" if inside else name)
    return out


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path -> leaf. Lists are leaves."""
    if isinstance(value, Mapping) and value:
        out: dict[str, Any] = {}
        for key, item in value.items():
            out |= flat(item, f"{path}.{key}" if path else str(key))
        return out
    return {path: value}


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The shortest tail of each path that no other of these paths ends with."""
    out = {}
    for path in paths:
        parts = path.split(".")
        tails = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        others = [other for other in paths if other != path]
        out[path] = next(
            (tail for tail in tails if not any(other == tail or other.endswith(f".{tail}") for other in others)), path
        )
    return out
