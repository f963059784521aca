"""The variants of every method: its own axes, and those of the teacher that relabels for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noisybench.registry import did_you_mean, shown
from noisybench.suite.axes import Step, short_names, spread
from noisybench.suite.grammar import MAX_RUNS
from noisybench.suite.merge import merge
from noisybench.suite.reading import Node, plain

if TYPE_CHECKING:
    from noisybench.suite.suite import Entry

MAX_CHAIN = 50
"""Relabels of relabels of ... : a longer chain is a slip, and would end in Python's own recursion limit."""


@dataclass(frozen=True, eq=False)
class Variant:
    """A method at one value of each of its axes. ``teacher`` is the name of the variant that relabels for it."""

    method: str
    name: str
    steps: tuple[Step, ...]
    tree: Node
    teacher: str | None
    relabel: str | None


class Variants:
    """All variants of all methods, made when asked for: a student's need its teacher's."""

    def __init__(self, base: Node, entries: Sequence[Entry]) -> None:
        self._base = base
        self._entries = {entry.name: entry for entry in entries}
        self._found: dict[str, list[Variant]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the methods, as written."""
        return list(self._entries)

    @property
    def all(self) -> list[Variant]:
        """All variants, methods as written."""
        return [variant for name in self._entries for variant in self.of(name)]

    def entry(self, name: str) -> Entry:
        """The entry of ``methods`` with this name."""
        return self._entries[name]

    def of(self, name: str, chain: tuple[str, ...] = ()) -> list[Variant]:
        """The variants of a method, its first axis outermost."""
        if name not in self._found:
            self._found[name] = self._make(self._entries[name], (*chain, name))
        return self._found[name]

    def _make(self, entry: Entry, chain: tuple[str, ...]) -> list[Variant]:
        stated = {key: item for key, item in entry.node.value.items() if key in ("training", "method")}
        tree = merge(self._base, entry.node.having(stated))
        made: list[tuple[tuple[Step, ...], Node, str | None, str | None]] = []
        for steps, variant in spread(tree, ""):
            relabel = variant.value["method"].get("relabel")
            if relabel is None or relabel.value is None:
                made.append((steps, variant, None, None))
            else:
                for teacher in self._teachers(relabel, steps, chain):
                    made.append((steps + _inherited(steps, teacher, relabel), variant, teacher.name, relabel.value))
            if len(made) > MAX_RUNS:
                raise entry.node.error(f"more than {MAX_RUNS:,} variants")
        names = _names(entry.name, [steps for steps, *_ in made])
        for place, name in enumerate(names):
            if name in names[:place]:
                raise entry.node.error(f"two variants are both '{name}'")
        return [
            Variant(entry.name, name, steps, tree, teacher, relabel)
            for name, (steps, tree, teacher, relabel) in zip(names, made, strict=True)
        ]

    def _teachers(self, relabel: Node, steps: tuple[Step, ...], chain: tuple[str, ...]) -> list[Variant]:
        """The teacher's variants that agree with the student on every axis both state."""
        name = self._method_named(relabel)
        if name in chain:
            ring = [*chain[chain.index(name) :], name]
            raise relabel.error(f"relabels form a circle: {' -> '.join(ring)}")
        if len(chain) > MAX_CHAIN:
            raise relabel.error(f"a chain of more than {MAX_CHAIN} relabels")
        candidates = self.of(name, chain)
        if relabel.value != name:
            exact = [variant for variant in candidates if variant.name == relabel.value]
            if not exact:
                names = [variant.name for variant in candidates]
                raise relabel.error(f"no variant {relabel.value!r}; there are: {', '.join(names)}")
            return exact
        own = {step.axis: step for step in steps if step.path != "method.relabel"}
        agreeing = [v for v in candidates if all(s.key == own[s.axis].key for s in v.steps if s.axis in own)]
        if not agreeing:
            shared = [step for step in own.values() if any(s.axis == step.axis for v in candidates for s in v.steps)]
            at = ", ".join(f"{step.axis.rpartition('.')[2]}={step.text}" for step in shared)
            raise relabel.error(f"no variant of {name} has {at}, which this method states on the same axis")
        return agreeing

    def _method_named(self, relabel: Node) -> str:
        name = relabel.value
        if isinstance(name, str):
            if name in self._entries:
                return name
            method = name.split("[")[0]
            if method in self._entries and "[" in name:
                return method
        known = list(self._entries)
        guess = did_you_mean(str(name), known)
        there = ", ".join(known)
        raise relabel.error(f"no method {shown(plain(relabel))} to relabel with{guess}; there are: {there}")

    def teacher(self, variant: Variant, relabel: str | None, node: Node) -> str | None:
        """The teacher's variant after overrides; an override that names a new teacher must name one variant."""
        if relabel is None or relabel == variant.relabel:
            return variant.teacher if relabel is not None else None
        names = [v.name for v in self._teachers(node, variant.steps, ())]
        if len(names) > 1:
            raise node.error(f"{relabel} has several variants; name one of: {', '.join(names)}")
        return names[0]


def _inherited(steps: tuple[Step, ...], teacher: Variant, relabel: Node) -> tuple[Step, ...]:
    """The teacher's axes as the student's; none where the student named one variant of it."""
    if relabel.value == teacher.name:
        return ()
    own = {step.axis for step in steps if step.path != "method.relabel"}
    return tuple(
        Step(f"teacher.{step.path}", step.value, step.text, step.line) for step in teacher.steps if step.axis not in own
    )


def _names(method: str, variants: Sequence[tuple[Step, ...]]) -> list[str]:
    """``Mixup[alpha=8]``: every axis by its shortest unambiguous key, a teacher's with ``teacher.`` before it."""
    paths = dict.fromkeys(step.path for steps in variants for step in steps)
    short: dict[str, str] = {}
    depths = {path: _teacher_depth(path) for path in paths}
    for depth in sorted(set(depths.values())):
        alike = {path: path.removeprefix("teacher." * depth) for path in paths if depths[path] == depth}
        names = short_names(list(alike.values()))
        short |= {path: "teacher." * depth + names[inner] for path, inner in alike.items()}
    out = []
    for steps in variants:
        inside = ", ".join(f"{short[step.path]}={step.text}" for step in steps)
        out.append(f"{method}[{inside}]" if inside else method)
    return out


def _teacher_depth(path: str) -> int:
    depth = 0
    while path.startswith("teacher."):
        path, depth = path.removeprefix("teacher."), depth + 1
    return depth
