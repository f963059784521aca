"""Suite -> cells -> runs. Pure and ordered: data set, noise, model, method as written, then seeds, teachers first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisybench.errors import SuiteError
from noisybench.registry import did_you_mean
from noisybench.spec import RunSpec
from noisybench.suite.axes import labels, spread, text_of
from noisybench.suite.cells import Cell, Entry, apply_overrides, finish, make_cells
from noisybench.suite.grammar import DEFAULT_NAME, MAX_RUNS
from noisybench.suite.merge import merge
from noisybench.suite.reading import Node
from noisybench.suite.resolve import Resolver
from noisybench.suite.runs import Runs, link, mark_students
from noisybench.suite.variants import Variants

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
    cells = list(make_cells(suite, entries, variants, resolver))
    apply_overrides(suite, cells, resolver)
    for cell in cells:
        finish(suite, cell)
    cells = link(cells, variants)
    runs = Runs()
    for cell in cells:
        cell.runs = {seed: runs.add(cell, seed) for seed in cell.seeds}
    if not runs.specs:
        raise SuiteError("every run is skipped by an override", file=suite.root.file, line=1)
    mark_students(cells)
    kept = [cell for cell in cells if cell.runs]
    planned = tuple(_plan_cell(cell, variants) for cell in kept)
    _know_baseline(suite, planned)
    return Expansion(tuple(runs.specs.values()), planned, _header(suite, kept))


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
        closed = str(data["kind"]) if rate is None else f"{data['kind']} {text_of(rate)}"
        return f"{closed} + open-set {text_of(data['open_set']['rate'])}" if data.get("open_set") else closed
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


def _know_baseline(suite: Suite, cells: tuple[dict[str, Any], ...]) -> None:
    report = suite.root.get("report")
    rows = list(dict.fromkeys(cell["method"] if cell["choose"] else cell["variant"] for cell in cells))
    if suite.baseline is None or suite.baseline in rows or report is None:
        return
    guess = did_you_mean(suite.baseline, rows)
    raise report.value["baseline"].error(
        f"no method '{suite.baseline}' in the table{guess}; there are: {', '.join(rows)}"
    )


def _plan_cell(cell: Cell, variants: Variants) -> dict[str, Any]:
    entry = variants.entry(cell.variant.method)
    has_axes = any(variant.steps for variant in variants.of(entry.name))
    relabel = cell.teacher.variant.name if cell.teacher is not None else None
    return {
        "dataset": cell.dataset.label,
        "noise": cell.noise.label,
        "model": cell.model.label,
        "method": entry.name,
        "variant": cell.variant.name,
        "choose": entry.choose if has_axes else None,
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
        "report": {"accuracy": suite.accuracy, "compare": list(suite.compare)}
        | ({"baseline": suite.baseline} if suite.baseline is not None else {}),
    }
