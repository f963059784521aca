"""Several results folders as one study, where they may be compared; and the part of a study that conditions choose.

The first folder sets the terms. Another's cells join its tables where data set, network and noise have the same
settings and, as far as both were measured, the same data and noisy labels, and where (recipe ``common``) the schedule
is one that the table has already. What differs in name alone joins; what differs in settings stands beside it under a
name of its own; what would be compared wrongly is left out, and the study's notes say why. Where no result of a whole
folder is shown, that is said apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from noisybench.report.results import STATUSES, Cell, Run, Study, read_study, seed_order
from noisybench.spec import at, canonical_json

SCHEDULE = ("epochs", "batch_size", "schedule", "warmup", "augment")
"""Keys of ``training`` that a table under one common recipe shares."""


def read_studies(folders: Sequence[Path], only: Sequence[str] = ()) -> Study:
    """The study of one folder, or of several merged; of it the runs that meet all conditions."""
    studies = [read_study(folder) for folder in folders]
    if len(studies) == 1:
        return narrow(studies[0], only) if only else studies[0]
    suites = Counter(s.suite for s in studies)
    names = [s.suite if suites[s.suite] == 1 else f"{s.suite} in {f}" for s, f in zip(studies, folders, strict=True)]
    merged = merge(studies, names)
    if not only:
        return merged
    study = narrow(merged, only)
    gone = [n for s, n in zip(studies, names, strict=True) if _shows(merged, s) and not _shows(study, s)]
    unmet = [f"No result of {n} is in these tables: none meets {', '.join(only)}." for n in gone]
    return replace(study, absent=(*study.absent, *unmet))


def narrow(study: Study, only: Sequence[str]) -> Study:
    """The cells and runs that meet all ``KEY=A|B``. InputError as in ``run --only``."""
    from noisybench.suite.select import keep  # it knows the grammar of suites

    planned = [
        {
            "settings": cell.settings,
            "dataset": cell.dataset,
            "noise": cell.noise,
            "model": cell.model,
            "method": cell.method,
            "variant": cell.variant,
            "runs": {run.seed: run.run_id for run in cell.runs},
        }
        for cell in study.cells
    ]
    cells = [
        replace(cell, runs=tuple(run for run in cell.runs if run.seed in seeds))
        for cell, seeds in zip(study.cells, keep(planned, only), strict=True)
        if seeds
    ]
    left = {run.run_id for cell in cells for run in cell.runs}
    all_runs = {run.run_id for cell in study.cells for run in cell.runs}
    told = f"Only {', '.join(only)}: {len(left)} of {len(all_runs)} runs."
    return replace(
        study,
        cells=tuple(cells),
        seeds=tuple(seed for seed in study.seeds if any(run.seed == seed for cell in cells for run in cell.runs)),
        damaged=tuple(item for item in study.damaged if item[0].rpartition("/")[2] in left),
        left_out=tuple(item for item in study.left_out if item[0].rpartition("/")[2] in left),
        notes=(*study.notes, told),
    )


def merge(studies: Sequence[Study], names: Sequence[str]) -> Study:
    """One study of all that may stand together; ``names`` are what its notes call the parts."""
    first, merged = studies[0], _Merged()
    notes: list[str] = []
    taken: list[tuple[Study, str]] = []
    absent: list[str] = []
    for study, name in zip(studies, names, strict=True):
        why = _unlike(study, first)
        joined, said = merged.take(study, name) if why is None else (0, [f"{name} is left out: {why}."])
        notes += said
        if joined:
            taken.append((study, name))
        else:
            absent += said
    rules = {n: s.accuracy for s, n in taken if s.accuracy != first.accuracy}
    notes += [f"{n} asks for the rule '{rule}'; shown is '{first.accuracy}'." for n, rule in rules.items()]
    whole = replace(
        first,
        suite=" + ".join(n for _, n in taken),
        parts=tuple(f"{n} (version {s.version})" for s, n in taken),
        description=" ".join(dict.fromkeys(_sentence(s.description) for s, _ in taken if s.description)),
        compare=tuple(dict.fromkeys(source for s, _ in taken for source in s.compare)),
        seeds=tuple(dict.fromkeys(seed for s, _ in taken for seed in s.seeds)),
        cells=tuple(merged.cells.values()),
        damaged=tuple((f"{n}/{run_id}", why) for s, n in taken for run_id, why in s.damaged),
        left_out=tuple((f"{n}/{run_id}", why) for s, n in taken for run_id, why in s.left_out),
        unplanned=tuple(f"{n}/{run_id}" for s, n in taken for run_id in s.unplanned),
        notes=tuple(notes),
    )
    unseen = [f"No result of {n} is in these tables: {_why_unseen(s)}." for s, n in taken if not _shows(whole, s)]
    return replace(whole, absent=(*absent, *unseen))


def _shows(study: Study, part: Study) -> bool:
    """A record of this part is in the merged study."""
    shown = {id(run) for cell in study.cells for run in cell.runs}
    return any(run.result is not None and id(run) in shown for cell in part.cells for run in cell.runs)


def _why_unseen(part: Study) -> str:
    """Why a part whose cells have joined shows no record."""
    if any(run.result is not None for cell in part.cells for run in cell.runs):
        return "an earlier folder has the same runs"
    counts = part.counts
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    return f"none of its runs has a record that can be used ({told})"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _unlike(study: Study, first: Study) -> str | None:
    """Why a whole study cannot stand beside the first."""
    if study.smoke != first.smoke:
        return "one of the two is a smoke run"
    if study.synthetic != first.synthetic:
        return "one of the two was trained on synthetic data in place of the real ones"
    if study.recipe != first.recipe:
        return f"its recipe is {study.recipe}, that of {first.suite} is {first.recipe}"
    return None


Place = tuple[str, str, str, str]  # data set, noise, model, variant


@dataclass
class _Merged:
    """What has been taken in so far."""

    cells: dict[Place, Cell] = field(default_factory=dict)
    labels: dict[tuple[str, str], str] = field(default_factory=dict)  # (block, its settings) -> its name in the tables
    data: dict[str, str] = field(default_factory=dict)  # data set -> fingerprint
    noisy: dict[tuple[str, str, str], str] = field(default_factory=dict)  # data set, noise, seed -> label hash
    schedules: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # data set, model -> what its cells say

    def take(self, study: Study, name: str) -> tuple[int, list[str]]:
        """Take in a study's cells; returns how many joined, and what there is to say."""
        cells = [self._placed(replace(cell, suite=study.suite, again=study.again), name) for cell in study.cells]
        out: Counter[str] = Counter()
        joining = []
        for cell in cells:
            why = self._unlike(cell, study.recipe)
            out.update([why] if why else [])
            joining += [] if why else [cell]
        clashing = {
            cell.method for cell in joining if (there := self.cells.get(_place(cell))) and not _same(there, cell)
        }
        reasons = [f"{n} of {len(cells)} cells left out, {why}" for why, n in sorted(out.items())]
        if reasons and not joining:
            return 0, [f"No result of {name} is in these tables: {'; '.join(reasons)}."]
        notes = [f"{name}: {reason}." for reason in reasons]
        if clashing:
            listed = ", ".join(sorted(clashing))
            notes.append(f"{name} has other settings under the same name, shown as 'NAME ({name})': {listed}.")
        shared: list[str] = []
        for cell in joining:
            if cell.method in clashing:
                cell = replace(
                    cell,
                    published=cell.published or cell.method,
                    method=f"{cell.method} ({name})",
                    variant=f"{cell.variant} ({name})",
                )
            self._add(cell, shared)
        if shared:
            notes.append(
                f"{name}: other results of runs that an earlier part has as well, not used: {', '.join(shared)}."
            )
        return len(joining), notes

    def _placed(self, cell: Cell, name: str) -> Cell:
        """The cell under the tables' names of its data set, noise and model."""
        found = {}
        for block in ("dataset", "noise", "model"):
            settings = {k: v for k, v in (cell.settings.get(block) or {}).items() if k != "path"}
            key = (block, canonical_json(settings))
            label = getattr(cell, block)
            if key not in self.labels:
                taken = {name for (kind, _), name in self.labels.items() if kind == block}
                self.labels[key] = f"{label} ({name})" if label in taken else label
            found[block] = self.labels[key]
        return replace(cell, dataset=found["dataset"], noise=found["noise"], model=found["model"])

    def _unlike(self, cell: Cell, recipe: str) -> str | None:
        """Why a cell must not join its table."""
        for run in cell.finished:
            data = str(at(run.result or {}, "data.fingerprint"))
            if self.data.get(cell.dataset, data) != data:
                return f"made from other data of the name {cell.dataset}"
            labels = _labels(run)
            if self.noisy.get((cell.dataset, cell.noise, run.seed), labels) != labels:
                return f"trained on other noisy labels ({cell.noise}, seed {run.seed})"
        known = self.schedules.get((cell.dataset, cell.model))
        if recipe == "common" and known is not None:
            for key, text in _schedule(cell).items():
                there = sorted(other for other in known if other.startswith(f"{key} "))
                if text not in there:
                    return f"training.{text}, where the others have {' or '.join(there)}"
        return None

    def _add(self, cell: Cell, shared: list[str]) -> None:
        for run in cell.finished:
            self.data.setdefault(cell.dataset, str(at(run.result or {}, "data.fingerprint")))
            self.noisy.setdefault((cell.dataset, cell.noise, run.seed), _labels(run))
        self.schedules.setdefault((cell.dataset, cell.model), set()).update(_schedule(cell).values())
        there = self.cells.get(_place(cell))
        if there is None:
            self.cells[_place(cell)] = cell
            return
        runs = {run.seed: run for run in there.runs}
        for run in cell.runs:
            mine = runs.get(run.seed)
            if mine is None or (mine.status != "finished" and run.status == "finished"):
                runs[run.seed] = run
            elif mine.result is not None and run.result is not None and not _equal(mine.result, run.result):
                shared.append(run.run_id)
        whole = next((part for part in (there, cell) if len(part.runs) == len(runs)), None)
        self.cells[_place(cell)] = replace(
            there,
            runs=tuple(sorted(runs.values(), key=lambda run: seed_order(run.seed))),
            again=whole.again if whole is not None else (),  # no part's command trains the seeds of both
        )


def _place(cell: Cell) -> Place:
    return cell.dataset, cell.noise, cell.model, cell.variant


def _same(first: Cell, second: Cell) -> bool:
    """One cell: the same runs where both have a seed, else the same settings."""
    theirs = {run.seed: run.run_id for run in second.runs}
    common = [run for run in first.runs if run.seed in theirs]
    if common:
        return all(run.run_id == theirs[run.seed] for run in common)
    return canonical_json(_comparable(first.settings)) == canonical_json(_comparable(second.settings))


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without where data lie and which teacher's run it was."""
    dataset = {key: value for key, value in (settings.get("dataset") or {}).items() if key != "path"}
    method = {key: value for key, value in (settings.get("method") or {}).items() if key != "relabel"}
    return {**settings, "dataset": dataset, "method": {**method, "relabels": bool(at(settings, "method.relabel"))}}


def _labels(run: Run) -> str:
    noise = at(run.result or {}, "noise") or {}
    return f"{noise.get('sha256')} {noise.get('open_set_sha256')}"


def _schedule(cell: Cell) -> dict[str, str]:
    training = cell.settings.get("training") or {}
    return {key: f"{key} {canonical_json(training.get(key))}" for key in SCHEDULE}


def _equal(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return canonical_json(first) == canonical_json(second)
