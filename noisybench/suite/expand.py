"""Suite -> cells -> runs. Pure and ordered: data set, noise, model, method as written, then seeds, teachers first."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisybench import registry
from noisybench.errors import SuiteError
from noisybench.spec import RunSpec, component_mappings
from noisybench.suite.axes import labels, spread, text_of
from noisybench.suite.grammar import DEFAULT_NAME, DEFAULTS, MAX_RUNS
from noisybench.suite.merge import merge
from noisybench.suite.overrides import Condition, is_known, known_paths, matches, named, value_at
from noisybench.suite.reading import Node
from noisybench.suite.resolve import Resolver
from noisybench.suite.smoke import shrink
from noisybench.suite.variants import MAX_CHAIN, Variant, Variants

if TYPE_CHECKING:
    from noisybench.suite.suite import Suite

BLOCKS = ("dataset", "noise", "model")


@dataclass(frozen=True)
class Expansion:
    """What a suite comes to.

    ``runs`` are unique and every teacher stands before its students; ``cells`` are those of the plan (``plan.json``),
    with run ids by seed; ``header`` is the plan without its cells.
    """

    runs: tuple[RunSpec, ...]
    cells: tuple[dict[str, Any], ...]
    header: Mapping[str, Any]

    @property
    def specs(self) -> dict[str, RunSpec]:
        """Run id -> spec."""
        return {spec.run_id: spec for spec in self.runs}


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


def expand(suite: Suite) -> Expansion:
    """All runs and cells of a suite. SuiteError with file and line where something cannot be run."""
    resolver = Resolver()
    entries = {block: _entries(merge(None, suite.blocks[block], block), block, resolver) for block in BLOCKS}
    _one_path_an_id(entries["dataset"])
    base = _base(suite)
    resolver.training(base.value["training"])
    variants = Variants(base, suite.methods)
    for name in variants.names:
        variants.of(name)
    count = len(suite.seeds) * len(variants.all)
    for block in BLOCKS:
        count *= len(entries[block])
    if count > MAX_RUNS:
        raise SuiteError(
            f"expands to {count:,} runs; more than {MAX_RUNS:,} is surely a slip", file=suite.root.file, line=1
        )
    _need_holdout(suite, entries["dataset"], variants)
    cells = list(_cells(suite, entries, variants, resolver))
    _override(suite, cells, resolver)
    for cell in cells:
        _finish(suite, cell)
    cells = _link(cells, variants)
    runs = _Runs()
    for cell in cells:
        cell.runs = {seed: runs.add(cell, seed) for seed in cell.seeds}
    if not runs.specs:
        raise SuiteError("every run is skipped by an override", file=suite.root.file, line=1)
    _mark_students(cells)
    kept = [cell for cell in cells if cell.runs]
    return Expansion(
        tuple(runs.specs.values()), tuple(_plan_cell(cell, variants) for cell in kept), _header(suite, kept)
    )


# -- blocks ------------------------------------------------------------------------------------------------------------


def _base(suite: Suite) -> Node:
    """``training`` and ``method`` before any method is laid over, every component named."""
    training = suite.blocks["training"]

    def component(path: str) -> Node:
        return merge(None, Node(DEFAULT_NAME[path], suite.root.file, training.line, path), path)

    below = training.having({key: component(f"training.{key}") for key in ("optimizer", "schedule")})
    if training.value is None:
        training = training.having({})
    method = training.having({key: component(f"method.{key}") for key in ("algorithm", "loss")})
    return Node({"training": merge(below, training, "training"), "method": method}, suite.root.file, 1)


def _entries(node: Node, block: str, resolver: Resolver) -> list[Entry]:
    found: list[tuple[Node, dict[str, Any]]] = []
    for _, tree in spread(node, block):
        found.append((tree, resolver.component(tree, block)))
        if len(found) > MAX_RUNS:
            raise node.error(f"more than {MAX_RUNS:,} values")
    names = labels([data for _, data in found], lambda data: _label(data, block))
    for place, name in enumerate(names):
        if name in names[:place]:
            raise found[place][0].error(f"'{name}' is stated twice: equal once the defaults are filled in")
    return [Entry(tree, data, name) for (tree, data), name in zip(found, names, strict=True)]


def _label(data: Mapping[str, Any], block: str) -> str:
    if block == "noise":
        rate = data.get("rate")
        return str(data["kind"]) if rate is None else f"{data['kind']} {text_of(rate)}"
    return str(data.get("id") or data["name"]) if block == "dataset" else str(data["name"])


def _one_path_an_id(entries: list[Entry]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        name, path = entry.data.get("id"), entry.data.get("path")
        if name is None or path is None:
            continue
        if seen.setdefault(str(name), str(path)) != str(path):
            where = entry.node.get("id") or entry.node.get("path") or entry.node
            raise where.error(f"two paths under one id '{name}': {seen[str(name)]} and {path}; give one another 'id'")


def _need_holdout(suite: Suite, entries: list[Entry], variants: Variants) -> None:
    lacking = next((entry for entry in entries if not entry.data["validation"]), None)
    if lacking is None:
        return
    remedy = f"needs a hold-out, and data set '{lacking.label}' has none; set dataset.validation, e.g. 0.1"
    report = suite.root.get("report")
    if suite.accuracy == "validation" and report is not None:
        raise report.value["accuracy"].error(f"'validation' {remedy}")
    for entry in suite.methods:
        if entry.choose == "validation":
            raise entry.node.value["choose"].error(f"'choose: validation' {remedy}")


# -- cells -------------------------------------------------------------------------------------------------------------


def _cells(suite: Suite, entries: Mapping[str, list[Entry]], variants: Variants, resolver: Resolver) -> Iterator[Cell]:
    for dataset in entries["dataset"]:
        for noise in entries["noise"]:
            for model in entries["model"]:
                for variant in variants.all:
                    tree = {"dataset": dataset.node, "noise": noise.node, "model": model.node, **variant.tree.value}
                    seeds = suite.seeds if suite.smoke is None else suite.smoke.seeds
                    yield Cell(dataset, noise, model, variant, tree, resolver.tree(tree), list(seeds))


def _override(suite: Suite, cells: list[Cell], resolver: Resolver) -> None:
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


def _finish(suite: Suite, cell: Cell) -> None:
    """Hash the files its components name, shrink it for a smoke run, mark what knows too much."""
    cell.files = _files(cell, suite.directory)
    if cell.data["method"]["algorithm"].get("oracle") is True:
        cell.marks.append("oracle")
    if suite.smoke is not None:
        cell.data, cell.synthetic = shrink(cell.data, suite.smoke.available)
        cell.seeds = [seed for seed in cell.seeds if seed in suite.seeds]


def _files(cell: Cell, folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for slot, mapping in component_mappings(cell.data):
        component = registry.get(slot.family, mapping[slot.name_key])
        for key in component.keys:
            value = mapping.get(key)
            if value is None or "file" not in component.markers(key):
                continue
            path = folder / Path(str(value)).expanduser()
            try:
                found[f"{slot.path}.{key}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                node = _node_at(cell.tree, f"{slot.path}.{key}")
                raise node.error(f"{path}: {error.strerror or error}") from None
    return found


def _node_at(tree: Mapping[str, Node], path: str) -> Node:
    first, *rest = path.split(".")
    node = tree[first]
    for part in rest:
        node = node.get(part) or node
    return node


# -- runs --------------------------------------------------------------------------------------------------------------


def _link(cells: list[Cell], variants: Variants) -> list[Cell]:
    """Give every student its teacher of the same data set, noise and model."""
    by_place = {(*cell.place, cell.variant.name): cell for cell in cells}
    for cell in cells:
        name = variants.teacher(cell.variant, cell.data["method"]["relabel"], _node_at(cell.tree, "method.relabel"))
        if name is not None:
            cell.teacher = by_place[(*cell.place, name)]
    return cells


class _Runs:
    """Makes run specs, teachers first, each once."""

    def __init__(self) -> None:
        self.specs: dict[str, RunSpec] = {}
        self._done: dict[tuple[int, int], str] = {}
        self._open: list[Cell] = []

    def add(self, cell: Cell, seed: int) -> str:
        """The id of a cell's run with this seed."""
        key = (id(cell), seed)
        if key in self._done:
            return self._done[key]
        if cell in self._open:
            ring = [*self._open[self._open.index(cell) :], cell]
            raise _relabel(cell).error(f"relabels form a circle: {' -> '.join(c.variant.name for c in ring)}")
        if len(self._open) > MAX_CHAIN:
            raise _relabel(cell).error(f"a chain of more than {MAX_CHAIN} relabels")
        teacher = None
        if cell.teacher is not None:
            if seed not in cell.teacher.seeds:
                by = cell.teacher.skipped_by
                where = f" ({by.place})" if by is not None else ""
                raise _relabel(cell).error(
                    f"needs the runs of {cell.teacher.variant.name} with {cell.noise.label}, which an override "
                    f"skips{where}"
                )
            self._open.append(cell)
            teacher = self.add(cell.teacher, seed)
            self._open.pop()
        data = {**cell.data, "method": {**cell.data["method"], "relabel": teacher}, "seed": seed}
        if cell.files:
            data["files"] = dict(cell.files)
        spec = RunSpec.of(data, defaults=DEFAULTS)
        self.specs.setdefault(spec.run_id, spec)
        self._done[key] = spec.run_id
        return spec.run_id


def _relabel(cell: Cell) -> Node:
    return _node_at(cell.tree, "method.relabel")


def _mark_students(cells: list[Cell]) -> None:
    """What a teacher knew, its students know."""
    for cell in cells:
        teacher = cell.teacher
        while teacher is not None:
            cell.marks += [mark for mark in teacher.marks if mark not in cell.marks]
            teacher = teacher.teacher
        cell.marks.sort(reverse=True)


def _plan_cell(cell: Cell, variants: Variants) -> dict[str, Any]:
    entry = variants.entry(cell.variant.method)
    several = len(variants.of(entry.name)) > 1
    relabel = cell.teacher.variant.name if cell.teacher is not None else None
    return {
        "dataset": cell.dataset.label,
        "noise": cell.noise.label,
        "model": cell.model.label,
        "method": entry.name,
        "variant": cell.variant.name,
        "choose": entry.choose if several else None,
        "published": entry.published,
        "marks": list(cell.marks),
        "settings": {**cell.data, "method": {**cell.data["method"], "relabel": relabel}},
        "runs": {str(seed): run_id for seed, run_id in cell.runs.items()},
    }


def _header(suite: Suite, cells: list[Cell]) -> dict[str, Any]:
    return {
        "schema": 1,
        "suite": suite.name,
        "version": suite.version,
        "description": suite.description,
        "recipe": suite.recipe,
        "smoke": suite.smoke is not None,
        "synthetic": any(cell.synthetic for cell in cells),
        "seeds": list(suite.seeds),
        "report": {"accuracy": suite.accuracy, "compare": list(suite.compare)},
    }
