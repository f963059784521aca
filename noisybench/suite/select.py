"""``--only CONDITION``: which runs of an expansion to work on. The plan never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noisybench.errors import InputError, SuiteError
from noisybench.registry import did_you_mean
from noisybench.suite.cells import why_nothing
from noisybench.suite.edits import parse_value
from noisybench.suite.expand import Expansion
from noisybench.suite.grammar import whole_path
from noisybench.suite.overrides import Condition, matches
from noisybench.suite.reading import Node, one_line


def select(expansion: Expansion, conditions: Sequence[str]) -> set[str]:
    """Ids of the runs that meet all conditions, and of the teachers they need. No condition: all runs.

    ``method=SAM``, ``"noise.rate=0.2|0.4"``, ``seed=0``: keys as in an override's ``when``. An unknown key, a value
    that no run has, or conditions that no run meets together are errors.
    """
    kept = keep(expansion.cells, conditions)
    chosen = {
        cell["runs"][seed]
        for cell, seeds in zip(expansion.cells, kept, strict=True)
        for seed in cell["runs"]
        if seed in seeds
    }
    specs = expansion.specs
    for run_id in list(chosen):
        teacher = specs[run_id].teacher
        while teacher is not None and teacher not in chosen:
            chosen.add(teacher)
            teacher = specs[teacher].teacher
    return chosen


def keep(planned: Sequence[Mapping[str, Any]], conditions: Sequence[str]) -> list[set[str]]:
    """For each cell of a plan the seeds whose runs meet all conditions. Errors as in ``select``."""
    cells = [(cell["settings"], _names(cell), cell["runs"]) for cell in planned]
    seeds = tuple(dict.fromkeys(int(seed) for _, _, runs in cells for seed in runs))
    parsed = [_parse(text) for text in conditions]
    for text, condition in zip(conditions, parsed, strict=True):
        for value in condition.values:
            one = Condition(condition.path, (value,) if not isinstance(value, tuple) else value, condition.node)
            if not any(_meets(one, cell, seed) for cell in cells for seed in cell[2]):
                if one.path == "method":
                    known = list(dict.fromkeys(name for _, names, _ in cells for name in names["method"]))
                    wanted = str(one.values[0])
                    guess = did_you_mean(wanted, known)
                    raise _error(text, f"no method '{wanted}'{guess}; there are: {', '.join(known)}")
                _, why = why_nothing((one,), [(data, names) for data, names, _ in cells], seeds)
                raise _error(text, why)
    kept = [
        {seed for seed in runs if all(_meets(Condition(c.path, _flat(c.values), c.node), cell, seed) for c in parsed)}
        for cell in cells
        for runs in (cell[2],)
    ]
    if not any(kept):
        raise _error(" --only ".join(conditions), "no run meets all conditions together")
    return kept


def _parse(text: str) -> Condition:
    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values.strip():
        raise _error(text, "must be KEY=VALUE or KEY=VALUE|VALUE, e.g. noise.rate=0.2|0.4")
    path = ".".join(str(part) for part in whole_path(tuple(key.strip().split("."))))
    return Condition(path, tuple(_readings(value.strip(), text) for value in values.split("|")), Node(None))


def _readings(value: str, text: str) -> tuple[Any, ...]:
    """A value as YAML reads it, and as it stands (a method may be called ``1``)."""
    try:
        return (parse_value(value), value)
    except SuiteError as error:
        if value.startswith(("[", "{")):
            raise _error(text, error.message) from None
        return (value,)


def _flat(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(option for value in values for option in value)


def _meets(condition: Condition, cell: tuple[Any, Any, Any], seed: str) -> bool:
    return matches(condition, {**cell[0], "seed": int(seed)}, cell[1])


def _names(cell: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    settings = cell["settings"]
    dataset = settings["dataset"]
    return {
        "dataset": (dataset["name"], str(dataset.get("id") or dataset["name"]), cell["dataset"]),
        "noise": (settings["noise"]["kind"], cell["noise"]),
        "model": (settings["model"]["name"], cell["model"]),
        "method": (cell["method"], cell["variant"]),
    }


def _error(text: str, message: str) -> InputError:
    return InputError(one_line(f"--only {text}: {message}"))
