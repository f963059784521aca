"""Two results folders cell by cell: a new version against an old one, mine against yours.

A difference is second minus first, in points of accuracy. Where every seed of the cell with fewer of them is in both,
on the same data and the same noisy labels, the two are paired by seed (Student's t of the differences); otherwise they
are independent samples (Welch). Intervals are 95 % each; p values are corrected for the number of cells (Holm 1979).
No spread over seeds is taken to be smaller than that of rounding to whole test images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import stdtr

from noisybench.report.grid import accuracies, check_rule, mean_of
from noisybench.report.results import Cell, Run, Study
from noisybench.report.statistics import Difference, Summary, rounding, summarise, welch
from noisybench.spec import at, canonical_json

LEVEL = 0.05
PAIRED, WELCH = "paired", "Welch"
Place = tuple[str, str, str, str]  # data set, noise, model, variant


@dataclass(frozen=True)
class Pair:
    """A cell that both have. ``identical``: every run of it that finished in both has the same result.

    ``difference`` is None where one of the two has no mean or a diverged run; ``p`` is Holm's, None where no error is
    known (one seed). ``how``: paired or Welch; ``seeds``: how many each mean rests on. ``changes``: settings that are
    not the same, (path, first, second).
    """

    place: Place
    first: Cell
    second: Cell
    means: tuple[Summary | None, Summary | None]
    identical: bool
    difference: Difference | None = None
    p: float | None = None
    how: str = ""
    changes: tuple[tuple[str, str, str], ...] = ()

    @property
    def apart(self) -> bool:
        """The two differ, all cells considered."""
        return self.p is not None and self.p < LEVEL

    @property
    def half_width(self) -> float | None:
        """Half the width of the difference's own 95 % interval."""
        return None if self.difference is None else self.difference.half_width()


@dataclass(frozen=True)
class Contrast:
    """Two studies side by side under one selection rule."""

    names: tuple[str, str]
    rule: str
    pairs: tuple[Pair, ...]
    only_first: tuple[Place, ...]
    only_second: tuple[Place, ...]
    versions: tuple[tuple[str, str, str], ...]  # (package, in the first, in the second), where they differ

    @property
    def changes(self) -> list[tuple[str, str, str, int]]:
        """(path, first, second, number of cells) of every setting that is not the same, the most frequent first."""
        found = Counter(change for pair in self.pairs for change in pair.changes)
        return [(*change, n) for change, n in sorted(found.items(), key=lambda item: (-item[1], item[0]))]


def contrast(first: Study, second: Study, names: tuple[str, str], rule: str | None = None) -> Contrast:
    """Compare two studies; the rule is the first's unless one is given. InputError for an unknown rule."""
    rule = rule or first.accuracy
    check_rule(rule)
    here, there = ({_place(cell): cell for cell in study.cells} for study in (first, second))
    pairs = _holm([_pair(place, cell, there[place], rule) for place, cell in here.items() if place in there])
    return Contrast(
        names,
        rule,
        tuple(pairs),
        tuple(place for place in here if place not in there),
        tuple(place for place in there if place not in here),
        tuple(_versions(first, second)),
    )


def _place(cell: Cell) -> Place:
    return cell.dataset, cell.noise, cell.model, cell.variant


def _pair(place: Place, first: Cell, second: Cell, rule: str) -> Pair:
    values = accuracies(first, rule), accuracies(second, rule)
    means = mean_of(first, rule), mean_of(second, rule)
    runs = {run.seed: run for run in second.finished}
    both = [(run, runs[run.seed]) for run in first.finished if run.seed in runs]
    identical = bool(both) and all(one.result == two.result for one, two in both)
    changes = tuple(_changes(first.settings, second.settings))
    pair = Pair(place, first, second, means, identical, changes=changes)
    if means[0] is None or means[1] is None or first.count("diverged") or second.count("diverged"):
        return pair
    shared = [one.seed for one, two in both if _same_labels(one, two)]
    if shared and len(shared) == min(means[0].n, means[1].n):
        least = math.hypot(rounding(first.images), rounding(second.images))
        found = paired({s: values[0][s] for s in shared}, {s: values[1][s] for s in shared}, least)
        return replace(pair, difference=found, p=p_value(found), how=PAIRED)
    found = welch(means[1], means[0])
    return replace(pair, difference=found, p=p_value(found), how=WELCH)


def _same_labels(first: Run, second: Run) -> bool:
    """The same data and the same noisy labels, as far as records can tell."""
    paths = ("data.fingerprint", "noise.sha256", "noise.open_set_sha256")
    one, two = ([at(run.result or {}, path) for path in paths] for run in (first, second))
    return one == two and one[1] is not None


def paired(first: Mapping[str, float], second: Mapping[str, float], least: float = 0.0) -> Difference:
    """Mean of second minus first over the seeds of both, with the standard error of that mean. ``least``: the smallest
    standard deviation that two accuracies of so many test images allow their difference."""
    found = summarise([second[seed] - first[seed] for seed in sorted(first)], least=least)
    assert found is not None  # there is a seed
    if found.spread is None:
        return Difference(found.mean)
    return Difference(found.mean, found.spread / found.n**0.5, found.n - 1)


def p_value(difference: Difference) -> float | None:
    """Two-sided p of Student's t; None without an error. Without any scatter it is 1 (no difference) or 0."""
    if difference.error is None or difference.degrees is None:
        return None
    mean = round(difference.mean, 9)
    if difference.error == 0 or mean == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(difference.degrees, -abs(mean) / difference.error))


def _holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with Holm's p in place of each one's own."""
    tested = sorted((pair.p, i) for i, pair in enumerate(pairs) if pair.p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, i) in enumerate(tested):
        highest = adjusted[i] = max(highest, min(1.0, (len(tested) - rank) * p))
    return [replace(pair, p=adjusted.get(i)) for i, pair in enumerate(pairs)]


def _changes(first: Any, second: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Leaves that are not the same; where data lie and which run was the teacher is left aside."""
    if path in ("dataset.path", "method.relabel"):
        return []
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = dict.fromkeys([*first, *second])
        return [c for k in keys for c in _changes(first.get(k), second.get(k), f"{path}.{k}" if path else str(k))]
    one, two = canonical_json(first), canonical_json(second)
    return [] if one == two else [(path, one, two)]


def _versions(first: Study, second: Study) -> list[tuple[str, str, str]]:
    here, there = _told(first), _told(second)
    names = sorted(here.keys() & there.keys())
    return [(name, here[name], there[name]) for name in names if here[name] != there[name]]


def _told(study: Study) -> dict[str, str]:
    """What records say of versions and the processor or device, several values side by side."""
    found: dict[str, dict[str, None]] = {}
    for cell in study.cells:
        for run in cell.finished:
            provenance = run.provenance or {}
            versions = provenance.get("versions")
            told = {**(versions if isinstance(versions, Mapping) else {}), "device": provenance.get("device")}
            for name, value in told.items():
                if value is not None:
                    found.setdefault(str(name), {})[str(value)] = None
    return {name: ", ".join(sorted(values)) for name, values in found.items()}
