"""The commands that look: list, show, validate."""

from __future__ import annotations

import inspect
import shlex
import textwrap
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from tabulate import tabulate

from noisybench import registry
from noisybench.errors import UnknownName

console = Console(soft_wrap=True, highlight=False, markup=False)


def _load(plugins: Sequence[Path]) -> None:
    for plugin in plugins:
        registry.load_plugin(plugin)


# -- list -------------------------------------------------------------------------------------------------------------


PLURALS = {
    **{f"{f}s": f for f in registry.FAMILIES if f != "loss"},
    "losses": "loss",
    "noises": "noise",
    "suite": "suites",
}


def print_list(family: str | None, plugins: Sequence[Path]) -> None:
    """One line a thing: name, citation, first line of its docstring."""
    from noisybench import literature
    from noisybench.suite import shipped_suites

    _load(plugins)
    wanted = [family] if family else ["suites", *registry.FAMILIES, "literature"]
    known = ["suites", "literature", *registry.FAMILIES]
    for name in wanted:
        singular = PLURALS.get(name, name)
        if singular not in known:
            raise UnknownName(
                f"nothing is called '{name}'{registry.did_you_mean(name, known)}; there are: {', '.join(known)}"
            )
        if singular == "suites":
            rows = [[suite.name, "", suite.description] for suite in shipped_suites()]
        elif singular == "literature":
            rows = [[source.name, f"{len(source.scores)} scores", source.title] for source in literature.sources()]
        else:
            rows = [[c.name, c.cite or "", c.summary] for c in registry.components(singular)]
        console.print(f"{name}:")
        console.print(textwrap.indent(tabulate(_short(rows), tablefmt="plain", disable_numparse=True), "  "))


def _short(rows: list[list[str]]) -> list[list[str]]:
    return [[*row[:-1], textwrap.shorten(row[-1], 90, placeholder=" ...")] for row in rows]


# -- show -------------------------------------------------------------------------------------------------------------


def print_show(name: str, sets: Sequence[str], plugins: Sequence[Path]) -> None:
    """A component (of every family that has the name), a suite, a source of published scores, or a citation."""
    from noisybench import literature
    from noisybench.cli.literature import print_citation
    from noisybench.suite import load_suite, render, shipped_suites

    _load(plugins)
    family, colon, plain = name.partition(":")
    if colon and family in registry.FAMILIES:
        _show_component(registry.get(family, plain))
        return
    if colon and plain and not Path(name).exists():
        near = registry.did_you_mean(family, registry.FAMILIES)
        raise UnknownName(
            f"no family of components is called '{family}'{near}; there are: {', '.join(registry.FAMILIES)}. "
            f"One name is enough: noisybench show {plain}"
        )
    if Path(name).suffix in (".yaml", ".yml") or Path(name).is_file() or name in {s.name for s in shipped_suites()}:
        console.print(render(load_suite(name, sets=sets).expand()))
        return
    if name in {source.name for source in literature.sources()}:
        _show_source(literature.load_source(name))
        return
    found = [family for family in registry.FAMILIES if name in registry.names(family)]
    if not found and name in literature.citations():
        print_citation(name)
        return
    if not found:
        known = [n for f in registry.FAMILIES for n in registry.names(f)]
        known += [s.name for s in shipped_suites()] + [s.name for s in literature.sources()]
        known += literature.citations()
        raise UnknownName(f"nothing is called '{name}'{registry.did_you_mean(name, known)} (see: noisybench list)")
    for family in found:
        _show_component(registry.get(family, name))


def _show_component(component: registry.Component) -> None:
    from noisybench import literature

    console.print(f"{component.family} '{component.name}', version {component.version}")
    if component.origin:
        console.print(f"from a plug-in ({component.origin})")
    console.print("\n" + (inspect.getdoc(component.target) or "(no docstring)") + "\n")
    rows = []
    for key in component.keys:
        info = component.field(key)
        default = "required" if info.is_required() else registry.shown(info.default)
        rows.append([key, describe_type(info), default])
    if rows:
        console.print(
            tabulate(rows, headers=["parameter", "takes", "default"], tablefmt="simple", disable_numparse=True)
        )
    else:
        console.print("It takes no parameters.")
    if component.cite:
        console.print(f"\nCite: {literature.citation(component.cite)}")
        scores = [s for s in literature.scores() if s.method_cite == component.cite and s.dataset == "cifar10"]
        if scores:
            shown = sorted(scores, key=lambda s: _telling(s, component.cite))[:MOST_SCORES]
            few = f", the first {len(shown)}" if len(scores) > len(shown) else ""
            console.print(f"Published scores of the paper's methods on CIFAR-10: {len(scores)}{few}")
            table = [
                [
                    s.method,
                    s.noise,
                    f"{s.rate:g}",
                    s.arch or "",
                    f"{s.acc:g}",
                    s.table,
                    _doubt(s),
                ]
                for s in shown
            ]
            heads = ["method", "noise", "rate", "network", "accuracy", "source", "remarks"]
            console.print(tabulate(table, headers=heads, disable_numparse=True))
            if few:
                methods = sorted({s.method for s in scores})
                console.print(f"More: noisybench list literature --dataset cifar10 --method {shlex.quote(methods[0])}")


def _doubt(score: Any) -> str:
    return "" if score.verified else "unverified"


MOST_SCORES = 8


def _telling(score: Any, cite: str | None) -> tuple[Any, ...]:
    """What most want to see first: injected noise, scores that were read, those of the method's own paper."""
    from noisybench.literature.words import KINDS

    kinds = [*(kind for kind in KINDS if kind != "clean"), "clean"]
    return kinds.index(score.noise), not score.verified, score.cite != cite, score.source, score.method, score.rate


def describe_type(info: Any) -> str:
    """A parameter's type and range in words: ``float, > 0, <= 1``."""
    limits = []
    for item in info.metadata:
        for sign, attribute in ((">", "gt"), (">=", "ge"), ("<", "lt"), ("<=", "le")):
            if (value := getattr(item, attribute, None)) is not None:
                limits.append(f"{sign} {value:g}")
    return ", ".join([_type_name(info.annotation), *limits])


def _type_name(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(str(part) for part in parts)
    if origin is typing.Annotated:
        return _type_name(parts[0])
    if annotation is type(None):
        return "null"
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    if origin in (list, tuple, dict):
        return f"{origin.__name__} of {', '.join(_type_name(part) for part in parts)}"
    return " | ".join(_type_name(part) for part in parts)


def _show_source(source: Any) -> None:
    from noisybench.cli.literature import HEAD, row

    console.print(f"{source.name}: {source.title}\n")
    for note in source.notes:
        console.print(textwrap.fill(f"- {note}", 100, subsequent_indent="  "))
    at = HEAD.index("source")
    rows = [[cell for i, cell in enumerate(row(score)) if i != at] for score in source.scores]
    heads = [head for i, head in enumerate(HEAD) if i != at]
    console.print("\n" + tabulate(rows, headers=heads, disable_numparse=True))


# -- validate ---------------------------------------------------------------------------------------------------------


def print_validation(suite: str, sets: Sequence[str], plugins: Sequence[Path], data_dir: Path | None) -> None:
    """Check a suite whole, say what it would train, and note what is missing here to train it."""
    from noisybench.data import DataFolder, default_data_dir
    from noisybench.execute.obstacles import missing_data, missing_packages
    from noisybench.suite import doubts, load_suite

    _load(plugins)
    loaded = load_suite(suite, sets=sets)
    expansion = loaded.expand()
    cells = len(expansion.cells)
    console.print(f"{loaded.name}: valid; {cells} cells, {len(expansion.runs)} runs.")
    folder = DataFolder(data_dir or default_data_dir(), loaded.directory)
    for lacking in [*missing_packages(expansion.runs, expansion.cells), *missing_data(expansion.runs, folder)]:
        console.print(f"Note: {lacking}.", markup=False)
    for doubt in doubts(expansion.runs):
        console.print(f"Note: {doubt}", markup=False)
