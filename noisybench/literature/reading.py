"""YAML text of a table -> plain values. Whatever is wrong with it is a DataError of one line: file, line and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from noisybench.errors import DataError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BAD_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML lets through of a scalar that looks like a value and is none, such as the date 2021-13-45."""


def read(path: Path, shown: str) -> Any:
    """The values of a file, read by a safe loader; ``shown`` is what errors call it. Every key stands once."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror or error}") from error
    try:
        loader = _Reader(raw.decode("utf-8"))
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root, shown)
        return loader.construct_document(root)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{shown}:{line}: not a text file: byte 0x{raw[error.start]:02x} is no UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = shown if mark is None else f"{shown}:{mark.line + 1}"
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise DataError(f"{place}: not valid YAML: {_one_line(said)}") from error
    except yaml.YAMLError as error:  # a character that no YAML may hold
        raise DataError(f"{shown}: not valid YAML: {_one_line(getattr(error, 'reason', error))}") from error
    except RecursionError as error:
        raise DataError(f"{shown}: not valid YAML: nested too deep") from error


class _Reader(_Loader):  # type: ignore[misc]
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _BAD_VALUES as error:
            said = f"{_one_line(node.value)[:60]} is no value: {error}"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error


def _check_keys(root: yaml.Node, shown: str) -> None:
    """DataError where a mapping has a key twice; of such a pair YAML would keep the last without a word."""
    left, seen = [root], set()
    while left:
        node = left.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise DataError(f"{shown}:{line}: a key must be a plain word")
                if (key.tag, key.value) in lines:
                    first = lines[key.tag, key.value]
                    raise DataError(
                        f"{shown}:{line}: {_one_line(key.value)}: the key is stated twice (first in line {first})"
                    )
                lines[key.tag, key.value] = line
            left += reversed([value for _, value in node.value])


def _one_line(text: Any) -> str:
    """The text in one line, what a terminal would obey written as ``\\x1b``."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else repr(c)[1:-1] for c in str(text)).split())
