"""A suite: one YAML file, read and checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisybench.errors import ParameterError, SuiteError
from noisybench.registry import did_you_mean, shown
from noisybench.suite.edits import apply_edits
from noisybench.suite.grammar import HEADER, MAX_RUNS, REPORT, ROOT_KEYS, VARIANT_KEYS
from noisybench.suite.merge import unfold_method
from noisybench.suite.overrides import Override, read_overrides
from noisybench.suite.reading import Node, plain, read
from noisybench.suite.shipped import find

if TYPE_CHECKING:
    from noisybench.suite.expand import Expansion

CHOICES = ("best", "validation")


@dataclass(frozen=True)
class Entry:
    """One entry of ``methods``: how it is trained (a tree over the suite's own), chosen and compared."""

    name: str
    node: Node
    choose: str | None
    published: str | None


@dataclass(frozen=True)
class Smoke:
    """How ``--smoke`` shrinks a suite.

    ``available`` says of a resolved data set whether its data is here; ``seeds`` are all seeds of the whole suite, on
    which overrides are still checked.
    """

    available: Callable[[Mapping[str, Any]], bool]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Suite:
    """A suite as read: header values are checked, blocks are trees of nodes that ``expand`` resolves."""

    name: str
    version: int
    description: str
    recipe: str
    seeds: tuple[int, ...]
    accuracy: str
    compare: tuple[str, ...]
    baseline: str | None
    file: Path
    root: Node = field(repr=False)
    blocks: Mapping[str, Node] = field(repr=False)
    methods: tuple[Entry, ...] = field(repr=False)
    overrides: tuple[Override, ...] = field(repr=False)
    smoke: Smoke | None = None

    @property
    def directory(self) -> Path:
        """The folder of the suite file: relative paths start here."""
        return self.file.resolve().parent

    def expand(self) -> Expansion:
        """All runs and cells, ordered; pure."""
        return self._expansion

    @functools.cached_property
    def _expansion(self) -> Expansion:
        from noisybench.suite.expand import expand

        return expand(self)


def load_suite(source: str | Path, *, sets: Sequence[str] = (), name: str | None = None) -> Suite:
    """Read and check a suite: a path, or the name of a shipped one.

    ``sets``: ``PATH=VALUE`` edits, applied before everything else. ``name``: another name to run under. Everything is
    checked here, expansion included; whatever is wrong is a SuiteError with file, line, key and remedy.
    """
    path = find(source)
    root = apply_edits(_checked_root(read(path)), sets)
    suite = _read_suite(root, path)
    if name is not None:
        try:
            HEADER.validate({"name": name})
        except ParameterError as error:
            raise SuiteError(error.message, file="--name") from None
        suite = replace(suite, name=name)
    suite.expand()
    return suite


def smoke_suite(suite: Suite, *, available: Callable[[Mapping[str, Any]], bool] = lambda block: True) -> Suite:
    """The same suite made tiny, under ``<name>-smoke``: few images, at most 3 epochs, one seed.

    A data set that is not ``available`` is replaced by synthetic images of the same shape.
    """
    suffix = "-smoke"
    return replace(
        suite,
        name=suite.name[: 64 - len(suffix)] + suffix,
        seeds=suite.seeds[:1],
        compare=(),
        smoke=Smoke(available, suite.seeds),
    )


def _checked_root(root: Node) -> Node:
    if root.value is None:
        raise SuiteError(
            "the file is empty; a suite needs at least name, dataset, model and methods", file=root.file, line=1
        )
    if not root.is_mapping:
        raise SuiteError(f"a suite is a mapping, not {shown(plain(root))}", file=root.file, line=1)
    for key, item in root.value.items():
        if key not in ROOT_KEYS:
            guess = did_you_mean(str(key), ROOT_KEYS)
            raise item.error(f"a suite has no key '{key}'{guess}; it takes: {', '.join(ROOT_KEYS)}")
    return root


def _read_suite(root: Node, path: Path) -> Suite:
    for key in ("name", "dataset", "model", "methods"):
        if root.get(key) is None:
            raise SuiteError(f"a suite needs '{key}'", file=root.file, line=1, key=key)
    header = _values(root, HEADER, {key: item for key, item in root.value.items() if key in HEADER.keys})
    report = _report(root)
    blocks = {
        "dataset": root.value["dataset"],
        "noise": root.get("noise") or root.having("clean"),
        "model": root.value["model"],
        "training": root.get("training") or root.having({}),
    }
    methods = _methods(root.value["methods"])
    return Suite(
        name=header["name"],
        version=header["version"],
        description=header["description"],
        recipe=header["recipe"],
        seeds=_seeds(root.get("seeds")),
        accuracy=report["accuracy"],
        compare=tuple(report["compare"]),
        baseline=report["baseline"],
        file=path,
        root=root,
        blocks=blocks,
        methods=methods,
        overrides=read_overrides(root.get("overrides"), [entry.name for entry in methods]),
    )


def _values(owner: Node, block: Any, nodes: Mapping[Any, Node]) -> dict[str, Any]:
    try:
        values: dict[str, Any] = block.validate({key: plain(item) for key, item in nodes.items()})
    except ParameterError as error:
        at = nodes.get(error.key)
        raise (at.error(error.message) if at is not None else owner.error(error.message, below=error.key)) from None
    return values


def _report(root: Node) -> dict[str, Any]:
    from noisybench.literature import source_names

    node = root.get("report")
    if node is None or node.value is None:
        return dict(REPORT.defaults)
    if not node.is_mapping:
        raise node.error(f"must be a mapping, not {shown(plain(node))}")
    for key, item in node.value.items():
        if key not in REPORT.keys:
            raise item.error(
                f"report has no key '{key}'{did_you_mean(str(key), REPORT.keys)}; it takes: {', '.join(REPORT.keys)}"
            )
    values = _values(node, REPORT, node.value)
    compare = node.get("compare")
    for item in compare.value if compare is not None else ():
        if item.value not in source_names():
            guess = did_you_mean(str(item.value), source_names())
            raise item.error(f"no published table '{item.value}'{guess}; there are: {', '.join(source_names())}")
    return values


def _seeds(node: Node | None) -> tuple[int, ...]:
    if node is None:
        return (0,)
    values = node.value
    if isinstance(values, int) and not isinstance(values, bool):
        if not 1 <= values <= MAX_RUNS:
            raise node.error(f"must be a number of seeds from 1 to {MAX_RUNS:,}, or a list of seeds, not {values}")
        return tuple(range(values))
    if not isinstance(values, list) or not values:
        raise node.error(f"must be a number of seeds or a list of seeds, not {shown(plain(node))}")
    for item in values:
        if not isinstance(item.value, int) or isinstance(item.value, bool) or not 0 <= item.value < 2**63:
            raise item.error(f"a seed is an integer from 0 to 2^63 - 1, not {shown(plain(item))}")
    seeds = [item.value for item in values]
    for place, item in enumerate(values):
        if item.value in seeds[:place]:
            raise item.error(f"the seed {item.value} is stated twice")
    return tuple(seeds)


def _methods(node: Node) -> tuple[Entry, ...]:
    if not node.is_mapping or not node.value:
        raise node.error("must be a mapping of at least one name to a method, e.g. {SGD: {}}")
    if len(node.value) > MAX_RUNS:
        raise node.error(f"more than {MAX_RUNS:,} methods")
    entries = []
    for key, item in node.value.items():
        name = str(key)
        if name != name.strip() or not name or len(name) > 80 or any(sign in name for sign in "[]|\n"):
            raise item.error("a method's name has 1 to 80 characters, none of them [ ] | and no space at its ends")
        unfolded = unfold_method(item)
        choose, published = (unfolded.get(key) for key in VARIANT_KEYS)
        if choose is not None and choose.value not in (*CHOICES, None):
            raise choose.error(f"must be 'best' or 'validation', not {shown(plain(choose))}")
        if published is not None and not isinstance(published.value, (str, type(None))):
            raise published.error(f"must be the name of a method in the literature, not {shown(plain(published))}")
        entries.append(Entry(name, unfolded, choose.value if choose else None, published.value if published else None))
    return tuple(entries)
