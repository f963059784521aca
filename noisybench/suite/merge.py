"""How one part of a suite is laid over another.

Mappings merge key by key. A component that changes its name drops the old parameters, except that a wrapper (SAM) keeps
what it wraps as its ``base`` and hands it the keys that are not its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from noisybench import registry
from noisybench.errors import SuiteError, UnknownName
from noisybench.registry import Component, did_you_mean
from noisybench.spec import Slot
from noisybench.suite.grammar import (
    METHOD_KEYS,
    TRAINING_KEYS,
    VARIANT_KEYS,
    slot_at,
    whole_path,
)
from noisybench.suite.reading import Node, plain

Tree = dict[str | int, Node]


def as_component(node: Node, slot: Slot) -> Node:
    """A component written as a bare name becomes a mapping with that name; a null stays null."""
    if isinstance(node.value, str):
        return node.having({slot.name_key: node})
    return node


def component_of(node: Node, slot: Slot) -> Component:
    """The registered component that a component mapping names; SuiteError with its line otherwise."""
    name = node.get(slot.name_key)
    what = "a name" if slot.name_key == "name" else f"a {slot.name_key}"
    if not node.is_mapping:
        raise node.error(f"must be {what} or a mapping with '{slot.name_key}', not {registry.shown(plain(node))}")
    if name is None:
        raise node.error(f"{slot.family} needs '{slot.name_key}'")
    if not isinstance(name.value, str):
        raise name.error(f"must be the name of a {slot.family}, not {registry.shown(plain(name))}")
    try:
        return registry.get(slot.family, name.value)
    except UnknownName as error:
        raise name.error(error.message) from None


def merge(old: Node | None, new: Node, path: str = "") -> Node:
    """``new`` laid over ``old`` at a spec path. A list in a component's place is an axis: each entry is laid over."""
    slot = slot_at(path)
    if slot is not None:
        return _merge_component(old, new, path, slot)
    if old is None:
        return _fill(new, path)
    if old.is_mapping and new.is_mapping:
        return _merge_mappings(old, new, path)
    _lost(old, new)
    return _fill(new, path)


def _fill(new: Node, path: str) -> Node:
    """Nothing below: still, the components inside are brought into their full form."""
    if not new.is_mapping:
        return new
    return new.having({key: merge(None, item, _join(path, key)) for key, item in new.value.items()})


def _merge_mappings(old: Node, new: Node, path: str) -> Node:
    merged: Tree = dict(old.value)
    for key, item in new.value.items():
        merged[key] = merge(merged.get(key), item, _join(path, key))
    return new.having(merged) if not old.value else old.having(merged)


def _merge_component(old: Node | None, new: Node, path: str, slot: Slot) -> Node:
    if new.is_list:
        return new.having([_merge_component(old, item, path, slot) for item in new.value])
    new = as_component(new, slot)
    if not new.is_mapping:
        raise new.error(f"must be a name or a mapping with '{slot.name_key}', not {registry.shown(new.value)}")
    name = new.get(slot.name_key)
    if name is not None and name.is_list:
        entries = [new.having({**new.value, slot.name_key: entry}) for entry in name.value]
        return new.having([_merge_component(old, entry, path, slot) for entry in entries])
    named = _named(old, new, path, slot)
    component = component_of(named, slot)
    if component.traits.get("wraps"):
        return _merge_wrapper(old, _hand_over(named, component), path, slot)
    if old is not None and _same_name(old, named, slot):
        return _merge_parameters(old, named, path)
    if old is not None:
        _lost(old, new)
    return named


def _named(old: Node | None, new: Node, path: str, slot: Slot) -> Node:
    """``new`` with a name: its own, that of what it is laid over, or for a base the default."""
    name = new.get(slot.name_key) or (old.get(slot.name_key) if old is not None else None)
    if name is None and path.endswith(".base"):
        name = _default_base(new)
    if name is None:
        wrong = new.get("kind" if slot.name_key == "name" else "name")
        hint = f" (it is called '{slot.name_key}' here)" if wrong is not None else ""
        raise (wrong or new).error(f"{slot.family} needs '{slot.name_key}'{hint}")
    return new.having({slot.name_key: name, **{k: v for k, v in new.value.items() if k != slot.name_key}})


def _same_name(old: Node, new: Node, slot: Slot) -> bool:
    before, now = old.get(slot.name_key), new.get(slot.name_key)
    return before is not None and now is not None and before.value == now.value


def _merge_wrapper(old: Node | None, new: Node, path: str, slot: Slot) -> Node:
    """A wrapper over another component wraps it; over itself or another wrapper it keeps what that one wrapped."""
    own, inside = _without_base(new), new.get("base")
    wrapped = old
    if old is not None and component_of(old, slot).traits.get("wraps"):
        wrapped = old.get("base")
        if _same_name(old, new, slot):
            own = _merge_parameters(_without_base(old), own, path)
        else:
            _lost(_without_base(old), new)
    if inside is not None or wrapped is None:
        wrapped = merge(wrapped, inside or _default_base(new), f"{path}.base")
    return own.having({**own.value, "base": wrapped})


def _without_base(node: Node) -> Node:
    return node.having({key: item for key, item in node.value.items() if key != "base"})


def _merge_parameters(old: Node, new: Node, path: str) -> Node:
    merged: Tree = dict(old.value)
    for key, item in new.value.items():
        before = merged.get(key)
        if before is not None and before.is_mapping and item.is_mapping:
            merged[key] = _merge_mappings(before, item, _join(path, key))
        elif before is not item:
            if before is not None:
                _lost(before, item)
            merged[key] = item
    return old.having(merged)


def _default_base(node: Node) -> Node:
    """What a wrapper wraps when nothing is said; it is nobody's edit."""
    return Node("sgd", "the default", node.line, node.key)


def _hand_over(node: Node, component: Component) -> Node:
    """Move the keys that are not the wrapper's own into its base."""
    own = {component_key: item for component_key, item in node.value.items() if component_key in component.keys}
    others = {k: v for k, v in node.value.items() if k not in own and k not in ("name", "base")}
    base = node.get("base")
    kept: Tree = {"name": node.value["name"], **own}
    if base is None and not others:
        return node.having(kept)
    inner: Tree = {}
    if base is not None:
        if base.is_list:
            if not others:
                return node.having({**kept, "base": base})
            first = next(iter(others.values()))
            raise first.error("write this key inside the entries of 'base', which is an axis here")
        base_mapping = base.having({"name": base}) if isinstance(base.value, str) else base
        if not base_mapping.is_mapping:
            raise base.error(f"must be a name or a mapping with 'name', not {registry.shown(base.value)}")
        inner = dict(base_mapping.value)
    for key, item in others.items():
        if key in inner:
            raise item.error(f"stated twice: here and as 'base.{key}' ({inner[key].place})")
        inner[key] = item
    return node.having({**kept, "base": (base or node).having(inner)})


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def _lost(old: Node, new: Node) -> None:
    """Raise when a value given by ``--set`` would be dropped here without a word."""
    for node in walk(old):
        if node.is_edit and not isinstance(node.value, (dict, list)):
            raise SuiteError(f"would have no effect: {new.key or 'it'} ({new.place}) restates it later", file=node.file)


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it."""
    yield node
    if isinstance(node.value, dict):
        for item in node.value.values():
            yield from walk(item)
    elif isinstance(node.value, list):
        for item in node.value:
            yield from walk(item)


# -- short paths -------------------------------------------------------------------------------------------------------


def unfold(node: Node, allowed: Mapping[str, str], *, keep: tuple[str, ...] = (), what: str) -> Node:
    """Bring the short and dotted keys of a method or a ``set`` into the form ``{training: ..., method: ...}``.

    ``allowed``: first part of a whole path -> how to say it. ``keep``: keys left as they are. An unknown key is an
    error with "did you mean".
    """
    if node.value is None:
        node = node.having({})
    if not node.is_mapping:
        raise node.error(f"must be a mapping, not {registry.shown(plain(node))}")
    out: Tree = {}
    for key, item in node.value.items():
        if key in keep:
            out[key] = item
            continue
        parts = whole_path(_split(key))
        if parts[0] not in allowed:
            known = [*allowed, *TRAINING_KEYS, *METHOD_KEYS, *keep]
            hint = _parameter_of(node, key)
            guess = "" if hint else did_you_mean(str(key), known)
            raise item.error(f"{what} has no key '{key}'{guess}; it takes: {', '.join(known)}{hint}")
        _insert(out, parts, item)
    for block, keys in (("training", TRAINING_KEYS), ("method", METHOD_KEYS)):
        for key, item in out[block].value.items() if block in out and out[block].is_mapping else ():
            if key not in keys:
                takes = f"it takes: {', '.join(keys)}"
                raise item.error(f"{block} has no key '{key}'{did_you_mean(str(key), keys)}; {takes}")
    return node.having(out)


def _parameter_of(node: Node, key: str | int) -> str:
    """How to write ``key`` where it is a parameter of a component that this mapping gives by its name alone."""
    for block in ("algorithm", "loss", "optimizer"):
        named = node.get(block)
        name = named.value if named is not None else None
        if name in registry.names(block) and key in registry.get(block, str(name)).keys:
            return f"; write it as {block}: {{name: {name}, {key}: ...}}"
    return ""


def unfold_method(node: Node) -> Node:
    """An entry of ``methods`` in full: keys ``training``, ``method``, ``choose``, ``published``."""
    return unfold(node, {"training": "", "method": ""}, keep=VARIANT_KEYS, what="a method")


def _split(key: str | int) -> tuple[str | int, ...]:
    return tuple(key.split(".")) if isinstance(key, str) else (key,)


def _insert(tree: Tree, parts: tuple[str | int, ...], item: Node) -> None:
    """Put ``item`` at ``parts``, mappings key by key; a second value for one place is an error."""
    key, rest = parts[0], parts[1:]
    if rest:
        present = tree.get(key)
        if present is None:
            present = tree[key] = item.having({})
        elif isinstance(present.value, str):
            present = tree[key] = present.having({"kind" if key == "noise" else "name": present})
        if not present.is_mapping:
            raise item.error(f"stated twice: here and as a whole ({present.place})")
        _insert(present.value, rest, item)
    elif item.is_mapping:
        present = tree.get(key)
        if present is None:
            present = tree[key] = item.having({})
        elif isinstance(present.value, str):
            present = tree[key] = present.having({"kind" if key == "noise" else "name": present})
        if not present.is_mapping:
            raise item.error(f"stated twice: here and as a whole ({present.place})")
        for inner, value in item.value.items():
            _insert(present.value, _split(inner), value)
    elif key in tree:
        present = tree[key]
        if present.is_mapping and isinstance(item.value, str) and "name" not in present.value:
            present.value["name"] = item
            return
        raise item.error(f"stated twice: here and at {present.place}")
    else:
        tree[key] = item
