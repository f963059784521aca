"""From a merged tree of nodes to plain, checked values with every default filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.registry import did_you_mean, shown
from noisybench.spec import Slot
from noisybench.suite.grammar import COMMON, METHOD_BLOCKS, METHOD_KEYS, SLOT, TRAINING, TRAINING_KEYS, share_meant
from noisybench.suite.merge import component_of, merge
from noisybench.suite.reading import Node, plain

ONLY_THERE = "a list of values (an axis) may stand in dataset, noise, model and inside methods, not here"


class Schema(Protocol):
    """What a component and a block have in common."""

    def fits(self, key: str, value: Any) -> bool:
        """Whether ``value`` as it stands is valid for ``key``."""


def is_axis(schema: Schema, key: str, node: Node) -> bool:
    """A list that does not fit the field while each element does (design 4.1)."""
    if not node.is_list or schema.fits(key, plain(node)):
        return False
    return all(schema.fits(key, plain(item)) for item in node.value)


class Resolver:
    """Resolves trees whose axes are spread already; remembers what it resolved, as cells share their parts."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[Node, Any]] = {}

    def tree(self, tree: Mapping[str, Node]) -> dict[str, Any]:
        """``dataset, noise, model, training, method`` of one cell, resolved."""
        return {
            "dataset": self.component(tree["dataset"], "dataset"),
            "noise": self.component(tree["noise"], "noise"),
            "model": self.component(tree["model"], "model"),
            "training": self.training(tree["training"]),
            "method": self.method(tree["method"]),
        }

    def component(self, node: Node, path: str) -> dict[str, Any]:
        """The component at a spec path: its name, the keys of its family, its parameters, its base."""
        found = self._known.get((path, id(node)))
        if found is None:
            found = self._known[path, id(node)] = (node, _component(node, SLOT[path]))
        return dict(found[1])

    def training(self, node: Node) -> dict[str, Any]:
        """The training block with optimiser and schedule."""
        block = _checked_keys(node, TRAINING_KEYS, "training")
        known = {key: item for key, item in block.items() if key in TRAINING.keys}
        for key, item in known.items():
            if is_axis(TRAINING, key, item):
                raise item.error(ONLY_THERE)
        resolved = _validated(TRAINING, known, node)
        for key in ("optimizer", "schedule"):
            path = f"training.{key}"
            resolved[key] = self.component(block[key], path)
        _try_schedule(block["schedule"], resolved)
        return resolved

    def method(self, node: Node) -> dict[str, Any]:
        """The method block. ``relabel`` is still the name of a method."""
        block = _checked_keys(node, METHOD_KEYS, "method")
        relabel = block.get("relabel")
        if relabel is not None and not isinstance(relabel.value, (str, type(None))):
            raise relabel.error(f"must be the name of a method, not {shown(plain(relabel))}")
        return {
            "algorithm": self.component(block["algorithm"], "method.algorithm"),
            "loss": self.component(block["loss"], "method.loss"),
            **{key: _method_block(block[key], key) if key in block else None for key in METHOD_BLOCKS},
            "relabel": relabel.value if relabel is not None else None,
        }


def _try_schedule(node: Node, training: Mapping[str, Any]) -> None:
    """A schedule is a pure function: ask it once, so that what it refuses is refused now."""
    params = {key: value for key, value in training["schedule"].items() if key != "name"}
    try:
        registry.get("schedule", training["schedule"]["name"]).build(0.0, training["epochs"], **params)
    except ParameterError as error:
        raise (node.get(error.key) or node).error(error.message) from None
    except ArithmeticError as error:
        raise node.error(f"cannot be computed with these parameters: {error}") from None


def _method_block(node: Node, name: str) -> dict[str, Any] | None:
    schema = METHOD_BLOCKS[name]
    if node.value is None:
        return None
    if node.is_list:
        raise node.error(ONLY_THERE)
    if not node.is_mapping:
        first = schema.keys[0]
        example = f"{{{first}: {schema.defaults[first]}}}"
        raise node.error(f"must be a mapping such as {example} or null, not {shown(plain(node))}")
    for key, item in node.value.items():
        if key in schema.keys and is_axis(schema, key, item):
            raise item.error(ONLY_THERE)
    return _validated(schema, node.value, node)


def _checked_keys(node: Node, keys: Iterable[str], owner: str) -> dict[str, Node]:
    keys = tuple(keys)
    if not node.is_mapping:
        raise node.error(f"must be a mapping, not {shown(plain(node))}")
    for key, item in node.value.items():
        if key not in keys:
            takes = f"it takes: {', '.join(keys)}"
            raise item.error(f"{owner} has no key '{key}'{did_you_mean(str(key), keys)}; {takes}")
    return dict(node.value)


def _validated(schema: Any, nodes: Mapping[Any, Node], owner: Node) -> dict[str, Any]:
    """Run a schema over plain values; what it refuses is reported at the key's own line."""
    values = {key: plain(item) for key, item in nodes.items()}
    try:
        resolved: dict[str, Any] = jsonable(schema.validate(values))
    except ParameterError as error:
        key, *inner = error.key.split(".")
        at = nodes.get(key)
        if at is None:
            raise owner.error(error.message, below=key) from None
        if at.is_list and any(schema.fits(key, plain(item)) for item in at.value):
            wrong = next((item for item in at.value if not schema.fits(key, plain(item))), None)
            if wrong is not None:  # an axis with a bad value: name that value
                _validated(schema, {**nodes, key: wrong}, owner)
        hint = share_meant(schema, key, values[key])
        for part in inner:
            if at.is_list and part.isdigit() and int(part) < len(at.value):
                at = at.value[int(part)]
        raise at.error(error.message + hint) from None
    return resolved


def _component(node: Node, slot: Slot, outer: tuple[str, ...] | None = None) -> dict[str, Any]:
    if node.is_list:
        raise node.error(ONLY_THERE)
    component = component_of(node, slot)
    common = COMMON.get(slot.family)
    shared = common.keys if common is not None else ()
    wraps = bool(component.traits.get("wraps"))
    if wraps and outer is not None:
        raise (node.get(slot.name_key) or node).error(f"'{component.name}' is a wrapper itself and cannot be wrapped")
    own = [*component.keys]
    allowed = [*own, *shared, *(["base"] if wraps else [])]
    what = f"{slot.family} '{component.name}'"
    for key, item in node.value.items():
        if key == slot.name_key:
            continue
        if key not in allowed:
            guess = did_you_mean(str(key), [*allowed, *(outer or ())])
            takes = f"it takes: {', '.join(allowed)}" if allowed else "it takes no parameters"
            around = f", nor has the optimizer around it, which takes: {', '.join(outer)}" if outer else ""
            raise item.error(f"{what} has no parameter '{key}'{guess}; {takes}{around}")
        schema = component if key in own else common
        if key != "base" and schema is not None and is_axis(schema, str(key), item):
            raise item.error(ONLY_THERE)
    resolved: dict[str, Any] = {slot.name_key: component.name}
    if common is not None:
        resolved |= _validated(common, {k: v for k, v in node.value.items() if k in shared}, node)
    resolved |= _validated(component, {k: v for k, v in node.value.items() if k in own}, node)
    if "path" in component.keys and "id" in component.keys and resolved.get("id") is None and resolved.get("path"):
        resolved["id"] = Path(str(resolved["path"])).stem
    if wraps:
        resolved["base"] = _component(node.value["base"], slot, tuple(own))
    return resolved


def jsonable(value: Any) -> Any:
    """Tuples as lists, so that a spec read back from its JSON equals the one written."""
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def resolve_dataset(value: Any) -> dict[str, Any]:
    """A ``dataset`` block given as a name or a mapping -> the resolved block (``inject --dataset``)."""
    return _component(merge(None, _as_node(value, "dataset"), "dataset"), SLOT["dataset"])


def _as_node(value: Any, key: str) -> Node:
    if isinstance(value, Mapping):
        value = {name: _as_node(item, f"{key}.{name}") for name, item in value.items()}
    elif isinstance(value, list):
        value = [_as_node(item, f"{key}[{i}]") for i, item in enumerate(value)]
    return Node(value, key=key)
