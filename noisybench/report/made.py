"""How a number was made: the resolved settings, what in them is no default, versions, device, and the command."""

from __future__ import annotations

import ast
import functools
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from noisybench import registry
from noisybench.errors import NoisybenchError
from noisybench.report.results import Cell, Run, Study, finite
from noisybench.spec import SLOTS, at, canonical_json
from noisybench.suite import shipped
from noisybench.suite.grammar import DEFAULT_NAME, DEFAULTS

UNKNOWN = "not known here (plug-in)"
NO_DEFAULT = "has no default"
FACTS = (
    ("device", "device_name"),
    ("precision", "precision"),
    ("threads", "threads"),
    ("compiled", "compile"),
    ("git commit", "git_commit"),
)
"""What a record's provenance tells, by the words of the page; the device's kind stands in for a missing name."""


@dataclass(frozen=True)
class Difference:
    """A setting that is not its default."""

    path: str
    value: str
    default: str


@dataclass(frozen=True)
class RunFacts:
    """One run: what it was, what it took, and the start of the hash of its labels."""

    run_id: str
    seed: str
    status: str
    accuracy: Mapping[str, float | None]
    seconds: float | None
    labels: str
    error: str


@dataclass(frozen=True)
class Made:
    """How the numbers of one cell were made."""

    cell: Cell
    settings: str
    differences: tuple[Difference, ...]
    facts: tuple[tuple[str, str], ...]
    runs: tuple[RunFacts, ...]
    command: str


def made(study: Study, cell: Cell, several: frozenset[str] | None = None) -> Made:
    """All that plan and records say on one cell. ``several``: what ``varying`` finds, where it is known already."""
    return Made(
        cell,
        "\n".join(_block(key, json.dumps(value)) for key, value in cell.settings.items()),
        tuple(differences(cell.settings)),
        tuple(facts(cell)),
        tuple(_run(run) for run in cell.runs),
        command(study, cell, varying(study) if several is None else several),
    )


@functools.lru_cache(maxsize=4096)
def _block(key: str, settings: str) -> str:
    """YAML of one block of the settings, given as JSON; most cells share most blocks."""
    return text_of({key: json.loads(settings)})


def text_of(value: Any) -> str:
    """YAML, one line for each small mapping."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    return text.rstrip("\n")


# -- settings ---------------------------------------------------------------------------------------------------------


def differences(settings: Mapping[str, Any]) -> Iterator[Difference]:
    """Every setting that is not its default, in the order of the settings; components by name first."""
    for block, value in settings.items():
        yield from _of_block(block, json.dumps(value))


@functools.lru_cache(maxsize=4096)
def _of_block(block: str, settings: str) -> tuple[Difference, ...]:
    """Of one block, given as JSON; most cells share most blocks."""
    return tuple(_within(json.loads(settings), block))


def _within(node: Any, path: str) -> Iterator[Difference]:
    if not isinstance(node, Mapping):
        yield Difference(path, _shown(node), NO_DEFAULT)
        return
    slot = _slot(path)
    defaults: dict[str, Any] = dict(DEFAULTS.get(path, {}))
    known = True
    if slot is not None:
        name = str(node.get(slot[1]))
        usual = DEFAULT_NAME.get(_wrapper(path))
        if name != usual:
            yield Difference(f"{path}.{slot[1]}", name, usual or NO_DEFAULT)
        of_component = component_defaults(slot[0], name)
        known = of_component is not None
        defaults |= of_component or {}
    for key, value in node.items():
        here = f"{path}.{key}"
        if slot is not None and key == slot[1]:
            continue
        if _slot(here) is not None or (here in DEFAULTS and isinstance(value, Mapping)):
            yield from _within(value, here) if isinstance(value, Mapping) else ()
        elif key not in defaults:
            yield Difference(here, _shown(value), NO_DEFAULT if known else UNKNOWN)
        elif not _same(value, defaults[key]):
            yield Difference(here, _shown(value), _shown(defaults[key]))


def _slot(path: str) -> tuple[str, str] | None:
    """Family and name key of the component at a path; a wrapper's ``base`` is one of the same family."""
    path = _wrapper(path)
    return next(((slot.family, slot.name_key) for slot in SLOTS if slot.path == path), None)


def _wrapper(path: str) -> str:
    while path.endswith(".base"):
        path = path.removesuffix(".base")
    return path


@functools.lru_cache(maxsize=512)
def component_defaults(family: str, name: str) -> Mapping[str, Any] | None:
    """Defaults of a registered component; None where nobody here knows it."""
    try:
        return registry.get(family, name).defaults
    except NoisybenchError:
        return None


def _same(first: Any, second: Any) -> bool:
    if type(first) is type(second) and isinstance(first, (str, bool, int, type(None))):
        return bool(first == second)
    try:
        return canonical_json(first) == canonical_json(second)
    except (TypeError, ValueError):
        return False


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or type(value) in (bool, int, float):
        return _scalar(repr(value))
    return _flat(value)


@functools.lru_cache(maxsize=4096)
def _scalar(text: str) -> str:
    """Of a number's, True's, False's or None's ``repr``: once for each."""
    return _flat({"nan": math.nan, "inf": math.inf, "-inf": -math.inf}.get(text) or ast.literal_eval(text))


def _flat(value: Any) -> str:
    try:
        return " ".join(text_of(value).removesuffix("\n...").split())
    except yaml.YAMLError:  # a default that YAML cannot say
        return str(value)


# -- records ----------------------------------------------------------------------------------------------------------


def facts(cell: Cell) -> Iterator[tuple[str, str]]:
    """(what, value) of everything that all or some of the cell's runs tell; several values stand side by side."""
    told = [run.provenance for run in cell.runs if run.provenance]
    versions = list(dict.fromkeys(_versions(provenance) for provenance in told))
    if versions and any(versions):
        yield "versions", "; ".join(text for text in versions if text)
    for what, key in FACTS:
        values = [p.get(key) if p.get(key) is not None else p.get("device") if what == "device" else None for p in told]
        shown = list(dict.fromkeys(_shown(value) for value in values if value is not None))
        if shown:
            yield what, ", ".join(shown)
    sizes = list(dict.fromkeys(_sizes(run) for run in cell.finished))
    if sizes:
        yield "data", "; ".join(sizes)
    rates = [rate for run in cell.finished if (rate := run.number("noise.realised_rate")) is not None]
    if rates:
        low, high = f"{100 * min(rates):.2f}", f"{100 * max(rates):.2f}"
        yield "wrong labels, measured", f"{low} %" if low == high else f"{low} to {high} %"
    seconds = [value for run in cell.finished if (value := wall(run)) is not None]
    if seconds:
        yield "wall time", f"{duration(sum(seconds))} for {len(seconds)} {'run' if len(seconds) == 1 else 'runs'}"
    if cell.marks:
        yield "marks", ", ".join(cell.marks)


def _versions(provenance: Mapping[str, Any]) -> str:
    versions = provenance.get("versions")
    return ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) if isinstance(versions, Mapping) else ""


def _sizes(run: Run) -> str:
    data = (run.result or {}).get("data") or {}
    held = f", {data['holdout_size']} held out" if data.get("holdout_size") else ""
    fingerprint = str(data.get("fingerprint") or "")[:16]
    return (
        f"{data.get('id') or data.get('name')}: {data.get('train_size')} training images{held}, "
        f"{data.get('test_size')} test images, SHA-256 {fingerprint}"
    )


def _run(run: Run) -> RunFacts:
    result = run.result or {}
    accuracy = result.get("test_accuracy") or {}
    return RunFacts(
        run.run_id,
        run.seed,
        run.status,
        {rule: finite(value) for rule, value in accuracy.items()},
        wall(run),
        str(at(result, "noise.sha256") or "")[:16],
        str((run.provenance or {}).get("error") or ""),
    )


def wall(run: Run) -> float | None:
    """Seconds of a run, evaluation and checkpoints included."""
    return finite(at(run.provenance or {}, "seconds.total"))


def duration(seconds: float) -> str:
    """``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


KEYS = {"method": "variant", "noise": "noise", "dataset": "dataset", "model": "model"}
"""Key of ``--only`` -> the name of a cell that it takes."""


def varying(study: Study) -> frozenset[str]:
    """Keys of ``--only`` that tell the cells of a study apart."""
    return frozenset(key for key, name in KEYS.items() if len({getattr(cell, name) for cell in study.cells}) > 1)


def command(study: Study, cell: Cell, several: frozenset[str]) -> str:
    """What trains this cell again: the command that made the plan, for this cell only."""
    again = study.again if cell.suite is None else cell.again
    smoke = ["--smoke"] if study.smoke else []
    parts = ["noisybench", "run", *(again or [_source(cell.suite or study.suite, study.smoke)]), *smoke]
    for key, attribute in KEYS.items():
        value = getattr(cell, attribute)
        if cell.suite is not None:  # merged: a name that was taken has its suite's behind it
            value = re.sub(rf" \({re.escape(cell.suite)}( in .*)?\)$", "", value)
        if key in several and "|" not in value:
            parts += ["--only", f"{key}={value}"]
    return " ".join(shlex.quote(part) for part in parts)


def _source(suite: str, smoke: bool) -> str:
    """Where a plan does not tell: a suite's name where it ships with the package, else a file of its name."""
    name = suite.removesuffix("-smoke") if smoke else suite
    return _shipped().get(name, f"{name}.yaml")


@functools.lru_cache(maxsize=1)
def _shipped() -> dict[str, str]:
    """Name of every shipped suite -> what to call it on the command line."""
    return {source.replace("/", "-"): source for source in shipped.known()}
