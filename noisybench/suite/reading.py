"""YAML text -> a tree of nodes that know where they were written.

A suite is data, so the reader takes the smallest useful part of YAML 1.2: mappings, lists and plain scalars. Aliases,
tags and second documents are refused, nesting and size are bounded (a bomb ends in one line, at once), duplicate keys
are errors, ``5e-4`` is a number, and ``on``, ``off``, ``yes``, ``no`` are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from noisybench.errors import SuiteError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, eq=False)
class Node:
    """A value and where it was written.

    ``value``: a dict of nodes, a list of nodes, or a scalar. ``file`` and ``line`` (of the key, for the value of a
    mapping) are the place, ``key`` is the dotted path as written. A ``--set`` edit has itself as ``file``, no line.
    """

    value: Any
    file: str = ""
    line: int | None = None
    key: str = ""

    @property
    def is_mapping(self) -> bool:
        """True for a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """True for a list."""
        return isinstance(self.value, list)

    @property
    def is_edit(self) -> bool:
        """True when the value came from ``--set``."""
        return self.file.startswith("--set ")

    @property
    def place(self) -> str:
        """``file:line``, or the ``--set`` edit itself."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def get(self, key: str | int) -> Node | None:
        """The node under a key of a mapping, None where there is none."""
        found: Node | None = self.value.get(key) if isinstance(self.value, dict) else None
        return found

    def having(self, value: Any) -> Node:
        """The same place with another value."""
        return replace(self, value=value)

    def error(self, message: str, *, below: str = "") -> SuiteError:
        """A SuiteError at this place; ``below`` names a key under this one."""
        key = f"{self.key}.{below}" if self.key and below else self.key or below
        return SuiteError(one_line(message), file=self.file, line=self.line, key=one_line(key) or None)


def one_line(text: str) -> str:
    """The text in one line, words longer than 100 characters cut, what a terminal would obey written as ``\\x1b``: what
    is quoted in an error may be anything."""
    text = "".join(c if c.isprintable() or c.isspace() else repr(c)[1:-1] for c in text)
    return re.sub(r"\S{100,}", lambda found: found[0][:60] + "...", " ".join(text.split()))


def plain(node: Node) -> Any:
    """The value of a node as ordinary dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def read(path: Path, *, shown: str | None = None) -> Node:
    """The root node of a suite file. Every problem is a SuiteError with file and line."""
    file = shown or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror or error}", file=file) from None
    if len(raw) <= MAX_BYTES:
        return compose(_decode(raw, file), file)
    cut = raw[: raw.rfind(b"\n", 0, MAX_BYTES) + 1] or raw[:MAX_BYTES]
    try:
        compose(_decode(cut, file), file)
    except SuiteError as error:
        if error.message.startswith("nested too deep"):
            raise
    raise SuiteError(f"a suite is at most {MAX_BYTES:,} bytes long", file=file, line=cut.count(b"\n") or 1)


def _decode(raw: bytes, file: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SuiteError(f"not a text file: byte 0x{raw[error.start]:02x} is no UTF-8", file=file, line=line) from None
    if strange := _NOT_TEXT.search(text):
        line = text.count("\n", 0, strange.start()) + 1
        raise SuiteError(f"not a text file: character U+{ord(strange[0]):04X}", file=file, line=line)
    return text


def compose(text: str, file: str, *, key: str = "", line: int | None = 1) -> Node:
    """Text of one YAML document -> its root node. With ``line=None`` no node has a line (a ``--set`` value)."""
    events = yaml.parse(text, Loader=_LOADER)
    try:
        return _Composer(file, lines=line is not None).document(events, key)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = mark.line + 1 if mark is not None and line is not None else line
        problem = one_line(str(error.problem or error.context))
        lines = text.splitlines()
        here = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
        hint = "; indent with spaces, not tabs" if "\t" in here[: len(here) - len(here.lstrip())] else ""
        raise SuiteError(f"not valid YAML: {problem}{hint}", file=file, line=at, key=key or None) from None
    except yaml.YAMLError as error:
        raise SuiteError(f"not valid YAML: {one_line(str(error))}", file=file, line=line) from None


class _Composer:
    def __init__(self, file: str, *, lines: bool) -> None:
        self.file, self.lines = file, lines

    def at(self, event: Any) -> int | None:
        return event.start_mark.line + 1 if self.lines else None

    def error(self, message: str, event: Any, key: str) -> SuiteError:
        return SuiteError(one_line(message), file=self.file, line=self.at(event), key=one_line(key) or None)

    def document(self, events: Iterator[Any], key: str) -> Node:
        root = Node(None, self.file, 1 if self.lines else None, key)
        seen = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise self.error("a suite is one YAML document; a second one starts here", event, "")
                seen = True
            elif isinstance(event, yaml.NodeEvent):
                root = self.node(events, event, self.at(event), key, 0)
        return root

    def node(self, events: Iterator[Any], event: Any, line: int | None, key: str, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            raise self.error("aliases (*name) are not allowed in a suite; write the value out", event, key)
        if getattr(event, "tag", None) is not None:
            raise self.error(f"tags ({event.tag}) are not allowed in a suite", event, key)
        if depth > MAX_DEPTH:
            raise self.error(f"nested too deep: more than {MAX_DEPTH} levels", event, "")
        if isinstance(event, yaml.SequenceStartEvent):
            value: Any = self.sequence(events, key, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self.mapping(events, key, depth)
        else:
            value = self.scalar(event, key)
        return Node(value, self.file, line, key)

    def sequence(self, events: Iterator[Any], key: str, depth: int) -> list[Node]:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(events, event, self.at(event), f"{key}[{len(items)}]", depth + 1))
        return items

    def mapping(self, events: Iterator[Any], key: str, depth: int) -> dict[str | int, Node]:
        items: dict[str | int, Node] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise self.error("a key must be a plain word", event, key)
            name: str | int = self.printable(event, key)
            if event.implicit[0] and _INTEGER.fullmatch(event.value):
                name = self.scalar(event, key)
            path = f"{key}.{name}" if key else str(name)
            line = self.at(event)
            if name in items:
                where = f" (first in line {items[name].line})" if self.lines else ""
                raise self.error(f"the key is stated twice{where}", event, path)
            items[name] = self.node(events, next(events), line, path, depth + 1)
        return items

    def scalar(self, event: Any, key: str) -> Any:
        text = self.printable(event, key)
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        try:
            if _INTEGER.fullmatch(text):
                return int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
        except ValueError:
            raise self.error(f"a number of {len(text)} digits is too long", event, key) from None
        return text

    def printable(self, event: Any, key: str) -> str:
        """A scalar's text; escapes in quotes may not bring in what a text file may not hold."""
        text: str = event.value
        if strange := _NOT_TEXT.search(text):
            raise self.error(f"no name or value may hold the character U+{ord(strange[0]):04X}", event, key)
        return text
