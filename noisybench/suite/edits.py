"""``--set PATH=VALUE``: edits of the suite file, made before anything else is read from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisybench.errors import SuiteError
from noisybench.registry import did_you_mean
from noisybench.suite.grammar import ROOT_KEYS, TRAINING_KEYS, slot_at, whole_path
from noisybench.suite.merge import unfold_method
from noisybench.suite.reading import Node, compose, one_line, plain


def parse_value(text: str) -> Any:
    """A value as YAML reads it in a suite."""
    return plain(compose(text, "value", line=None))


def apply_edits(root: Node, sets: Sequence[str]) -> Node:
    """The root with every edit made, in order. An edit replaces what stands at its path."""
    for text in sets:
        path, equals, value = text.partition("=")
        source = one_line(f"--set {text}")
        if not equals or not path.strip():
            raise SuiteError("must be PATH=VALUE, e.g. training.epochs=5", file=source)
        path = path.strip()
        node = compose(value, source, key="", line=None)
        parts = _parts(path, root, source)
        root = _put(root, parts, node, source, "")
    return root


def _parts(path: str, root: Node, source: str) -> tuple[str, ...]:
    """The path as keys. Names of methods may hold dots and spaces, so the longest known name wins."""
    first, _, rest = path.partition(".")
    if first == "methods" and rest:
        methods = root.get("methods")
        known = [str(key) for key in methods.value] if methods is not None and methods.is_mapping else []
        for name in sorted(known, key=len, reverse=True):
            if rest == name:
                return ("methods", name)
            if rest.startswith(name + "."):
                inner = whole_path(tuple(rest[len(name) + 1 :].split(".")))
                return ("methods", name, *(str(part) for part in inner))
        wanted = rest.partition(".")[0]
        there = f"; there are: {', '.join(known)}" if known else ""
        raise SuiteError(f"no method '{one_line(wanted)}'{did_you_mean(wanted, known)}{there}", file=source)
    parts = tuple(path.split("."))
    if parts[0] in TRAINING_KEYS:
        parts = ("training", *parts)
    if parts[0] not in ROOT_KEYS:
        guess = did_you_mean(parts[0], [*ROOT_KEYS, *TRAINING_KEYS])
        raise SuiteError(
            f"a suite has no key '{one_line(parts[0])}'{guess}; it takes: {', '.join(ROOT_KEYS)}", file=source
        )
    return parts


def _put(node: Node, parts: tuple[str, ...], value: Node, source: str, path: str) -> Node:
    """``node`` with ``value`` at ``parts``. A component written as a name becomes a mapping on the way."""
    if not parts:
        return value
    slot = slot_at(path.removeprefix("methods.*."))
    if path == "methods.*":
        node = unfold_method(node)
    elif slot is not None and isinstance(node.value, str):
        node = node.having({slot.name_key: node})
    elif node.value is None:
        node = node.having({})
    if not node.is_mapping:
        what = "a list (an axis)" if node.is_list else "no mapping"
        raise SuiteError(f"'{node.key}' is {what} here ({node.place}); set it as a whole", file=source)
    key: str | int = parts[0]
    if key not in node.value and isinstance(key, str) and key.isdigit() and int(key) in node.value:
        key = int(key)
    below = "methods.*" if path == "methods" else f"{path}.{parts[0]}" if path else parts[0]
    old = node.value.get(key) or Node(None, source)
    return node.having({**node.value, key: _put(old, parts[1:], value, source, below)})
