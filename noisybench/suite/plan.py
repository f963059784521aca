"""``plan.json``: the expanded plan of a results folder, and what an edited suite may change in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noisybench.errors import PlanConflict, StoreError
from noisybench.spec import canonical_json
from noisybench.suite.axes import flat, text_of
from noisybench.suite.expand import Expansion


def build_plan(expansion: Expansion, again: Sequence[str] = ()) -> dict[str, Any]:
    """The plan as it is stored, read back by reports. ``again``: what follows ``noisybench run`` to make it once more;
    plans that differ in nothing else are the same."""
    made_by = {"again": list(again)} if again else {}
    return copy.deepcopy({**expansion.header, **made_by, "cells": list(expansion.cells)})


def run_names(cells: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Run id -> ``SAM, symmetric 40 %, seed 1`` (data set and model where there are several), of a plan's cells."""
    cells = list(cells)
    several = {key: len({cell[key] for cell in cells}) > 1 for key in ("dataset", "model")}
    names = {}
    for cell in cells:
        parts = [cell["variant"], cell["noise"], *(cell[key] for key in ("dataset", "model") if several[key])]
        for seed, run_id in cell["runs"].items():
            names[str(run_id)] = ", ".join([*parts, f"seed {seed}"])
    return names


def check_plan(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """The plan to store. An edited suite may add seeds and cells; a raised ``version`` replaces the plan.

    Anything else is a PlanConflict that names the first difference and both remedies. The plan of a smoke run may
    always be replaced by another smoke run's: nothing in it is worth keeping.
    """
    try:
        if old is None or new["version"] > old["version"] or (old["smoke"] and new["smoke"]):
            return dict(new)
        difference = _difference(old, new)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the stored plan of '{new['suite']}' is damaged ({type(error).__name__}: {error}); "
            "move plan.json away and run the suite again (records are kept)"
        ) from error
    if difference is not None:
        above = max(old["version"], new["version"])
        raise PlanConflict(
            f"the results folder of '{new['suite']}' holds another plan (version {old['version']}): {difference}; "
            f"run it as another suite with --name NEW, or raise 'version' above {above} (in the file, or with --set "
            f"version={above + 1}) to replace the plan: what did not change is kept, only the changed runs are trained"
        )
    return dict(new)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    if new["version"] < old["version"]:
        return f"the suite's version is {new['version']}"
    for key in ("schema", "suite", "recipe", "smoke"):
        if old[key] != new[key]:
            return f"{key} was {text_of(old[key])}, is {text_of(new[key])}"
    for key, value in flat(dict(old["report"])).items():
        now = flat(new["report"]).get(key)
        if value != now:
            return f"report.{key} was {text_of(value)}, is {text_of(now)}"
    here = {_name(cell): cell for cell in new["cells"]}
    by_runs = {(cell["variant"], run_id): cell for cell in new["cells"] for run_id in cell["runs"].values()}
    for cell in old["cells"]:
        now = here.get(_name(cell))
        if now is None or not cell["runs"].items() <= now["runs"].items():
            now = by_runs.get((cell["variant"], next(iter(cell["runs"].values()))), now)
        if now is None:
            return f"{' / '.join(_name(cell))} is gone"
        difference = _cell_difference(cell, now)
        if difference is not None:
            return f"{' / '.join(_name(cell))}: {difference}"
    return None


def join_plans(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of both: cells and seeds of either. PlanConflict where the two do not describe one study.

    How it is made again is kept where both were made by the same command: another one made only a part of this.
    """
    for key in ("schema", "suite", "version", "recipe", "smoke"):
        if first[key] != second[key]:
            raise PlanConflict(f"{key} is {text_of(first[key])} in one and {text_of(second[key])} in the other")
    if flat(dict(first["report"])) != flat(dict(second["report"])):
        raise PlanConflict("their 'report' blocks differ")
    joined = {_name(cell): copy.deepcopy(dict(cell)) for cell in first["cells"]}
    for cell in second["cells"]:
        mine = joined.setdefault(_name(cell), copy.deepcopy(dict(cell)))
        where = " / ".join(_name(cell))
        for key in ("method", "choose", "published", "marks"):
            if mine[key] != cell[key]:
                raise PlanConflict(
                    f"{where}: '{key}' is {text_of(mine[key])} in one, {text_of(cell[key])} in the other"
                )
        for seed, run_id in cell["runs"].items():
            if mine["runs"].setdefault(seed, run_id) != run_id:
                difference = _cell_difference({**mine, "runs": {seed: mine["runs"][seed]}}, cell)
                raise PlanConflict(f"{where}, seed {seed}, is not the same run in both: {difference}")
        mine["runs"] = dict(sorted(mine["runs"].items(), key=lambda item: int(item[0])))
    seeds = sorted({*first["seeds"], *second["seeds"]})
    plan = {**copy.deepcopy(dict(first)), "cells": list(joined.values()), "seeds": seeds}
    if first.get("again") != second.get("again"):
        plan.pop("again", None)
    return plan


def _name(cell: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return cell["dataset"], cell["noise"], cell["model"], cell["variant"]


def _cell_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    for key in ("method", "choose", "published", "marks"):
        if old[key] != new[key]:
            return f"'{key}' was {text_of(old[key])}, is {text_of(new[key])}"
    gone = [seed for seed in old["runs"] if seed not in new["runs"]]
    if gone:
        return f"seed {gone[0]} is gone"
    if all(new["runs"][seed] == run_id for seed, run_id in old["runs"].items()):
        return None
    before, now = flat(old["settings"]), flat(new["settings"])
    for key in dict.fromkeys([*before, *now]):
        if canonical_json(before.get(key)) != canonical_json(now.get(key)):
            return f"{key} was {text_of(before.get(key))}, is {text_of(now.get(key))}"
    return "what is behind its runs has changed: a component's version, a plug-in, a file it names, or its teacher"
