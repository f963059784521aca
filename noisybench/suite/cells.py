"""Cells: every data set, noise, model and variant, and what overrides, files and a smoke run make of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisybench import registry
from noisybench.spec import component_mappings
from noisybench.suite.axes import text_of
from noisybench.suite.merge import merge
from noisybench.suite.overrides import Condition, is_known, known_paths, matches, named, value_at
from noisybench.suite.reading import Node
from noisybench.suite.resolve import Resolver
from noisybench.suite.smoke import shrink
from noisybench.suite.variants import Variant, Variants

if TYPE_CHECKING:
    from noisybench.suite.suite import Suite


@dataclass(frozen=True)
class Entry:
    """One value of a block after its axes: the tree it was written as, resolved values, label."""

    node: Node
    data: Mapping[str, Any]
    label: str


@dataclass(eq=False)
class Cell:
    """A cell on its way to the plan."""

    dataset: Entry
    noise: Entry
    model: Entry
    variant: Variant
    tree: dict[str, Node]
    data: dict[str, Any]
    seeds: list[int]
    marks: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    synthetic: bool = False
    runs: dict[int, str] = field(default_factory=dict)
    teacher: Cell | None = None
    skipped_by: Node | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        """Its data set, noise and model: what a student shares with its teacher."""
        return id(self.dataset), id(self.noise), id(self.model)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """What a condition may call its parts."""
        dataset, noise, model = self.data["dataset"], self.data["noise"], self.data["model"]
        return {
            "dataset": (dataset["name"], str(dataset.get("id") or dataset["name"]), self.dataset.label),
            "noise": (noise["kind"], self.noise.label),
            "model": (model["name"], self.model.label),
            "method": (self.variant.method, self.variant.name),
        }


def make_cells(
    suite: Suite, entries: Mapping[str, list[Entry]], variants: Variants, resolver: Resolver
) -> Iterator[Cell]:
    for dataset in entries["dataset"]:
        for noise in entries["noise"]:
            for model in entries["model"]:
                for variant in variants.all:
                    tree = {"dataset": dataset.node, "noise": noise.node, "model": model.node, **variant.tree.value}
                    seeds = suite.seeds if suite.smoke is None else suite.smoke.seeds
                    yield Cell(dataset, noise, model, variant, tree, resolver.tree(tree), list(seeds))


def apply_overrides(suite: Suite, cells: list[Cell], resolver: Resolver) -> None:
    """Apply the overrides in order; later ones see what earlier ones did."""
    for override in suite.overrides:
        met = False
        for cell in cells:
            seeds = _seeds_meeting(cell, override.when)
            met = met or bool(seeds)
            if not seeds:
                continue
            if override.change is None:
                cell.seeds = [seed for seed in cell.seeds if seed not in seeds]
                cell.skipped_by = override.node
                continue
            for block, change in override.change.value.items():
                cell.tree[block] = merge(cell.tree[block], change, block)
            cell.data = resolver.tree(cell.tree)
            if override.knows_rate and "rate-aware" not in cell.marks:
                cell.marks.append("rate-aware")
        if not met:
            node, message = why_nothing(override.when, [(cell.data, cell.names) for cell in cells], suite.seeds)
            raise (node or override.node).error(f"this override matches nothing: {message}")


def _seeds_meeting(cell: Cell, when: tuple[Condition, ...]) -> list[int]:
    names = cell.names
    if not all(matches(condition, cell.data, names) for condition in when if condition.path != "seed"):
        return []
    conditions = [condition for condition in when if condition.path == "seed"]
    return [seed for seed in cell.seeds if all(matches(condition, {"seed": seed}, names) for condition in conditions)]


def why_nothing(
    conditions: tuple[Condition, ...], cells: list[tuple[Any, Any]], seeds: tuple[int, ...]
) -> tuple[Node | None, str]:
    """Which condition no run meets, and what there is instead."""
    for condition in conditions:
        facts = [({**data, "seed": seed}, names) for data, names in cells for seed in seeds]
        if any(matches(condition, data, names) for data, names in facts):
            continue
        path = re.sub(r"^(training|method)\.", "", condition.path)
        if not is_known(condition.path, (data for data, _ in facts)):
            paths = known_paths(data for data, _ in cells)
            return condition.node, f"no run has a '{path}'{registry.did_you_mean(path, paths)}"
        if condition.path in ("dataset", "noise", "model", "method"):
            there = dict.fromkeys(names[condition.path][-1] for _, names in facts)
        else:
            there = dict.fromkeys(text_of(named(v)) for ok, v in (value_at(d, condition.path) for d, _ in facts) if ok)
        wanted = " or ".join(dict.fromkeys(text_of(value) for value in condition.values if not isinstance(value, list)))
        shown = ", ".join(list(there)[:12]) + (", ..." if len(there) > 12 else "")
        return condition.node, f"no run has {path} = {wanted}; there are: {shown}"
    return None, "no run meets all its conditions together"


def finish(suite: Suite, cell: Cell) -> None:
    """Hash the files its components name, shrink it for a smoke run, mark oracles and networks that answer together."""
    cell.files = _files(cell, suite.directory)
    algorithm = cell.data["method"]["algorithm"]
    if algorithm.get("oracle") is True:
        cell.marks.append("oracle")
    traits = registry.get("algorithm", algorithm["name"]).traits
    if algorithm.get("ensemble") is True or traits.get("ensemble", 1) > 1:
        cell.marks.append("ensemble")
    if traits.get("needs_holdout") and not cell.data["dataset"]["validation"]:
        raise node_at(cell.tree, "method.algorithm").error(
            f"algorithm '{algorithm['name']}' needs a hold-out, and data set '{cell.dataset.label}' has none; "
            "set dataset.validation, e.g. 0.1"
        )
    if suite.smoke is not None:
        cell.data, cell.synthetic = shrink(cell.data, suite.smoke.available)
        cell.seeds = [seed for seed in cell.seeds if seed in suite.seeds]


def _files(cell: Cell, folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for slot, mapping in component_mappings(cell.data):
        component = registry.get(slot.family, mapping[slot.name_key])
        for key in component.keys:
            value = mapping.get(key)
            if not isinstance(value, str) or "file" not in component.markers(key):
                continue
            path = folder / Path(str(value)).expanduser()
            try:
                found[f"{slot.path}.{key}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                node = node_at(cell.tree, f"{slot.path}.{key}")
                raise node.error(f"{path}: {error.strerror or error}") from None
    return found


def node_at(tree: Mapping[str, Node], path: str) -> Node:
    first, *rest = path.split(".")
    node = tree[first]
    for part in rest:
        node = node.get(part) or node
    return node
