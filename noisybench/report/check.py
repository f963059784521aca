"""``report --check FILE``: windows that the accuracies of a study, or other numbers of its records, must lie in.

    rule: last                 # optional; a window may name its own: last, last10, validation or best
    expect:
      - {method: SAM, noise: symmetric 40 %, low: 85, high: 95}
      - {method: SGD, noise: symmetric, rate: 0.6, dataset: digits, model: mlp, high: 70, rule: best}
      - {suite: detectors, method: SGD, noise: symmetric, value: detection.small_loss.auc, low: 0.9}

``noise`` is what a table or a plan calls it, or its kind alone (then every rate, or the one that ``rate`` names);
``dataset`` and ``model`` are needed only to pick one of several. A window holds for every cell that it fits, on the
mean over seeds: of accuracies in percent, or of the number at the path ``value`` of a record's ``result`` as it stands
there. A cell with a run that diverged, failed or is missing does not hold. A window with ``suite`` is for results of
that suite, and is passed over in a report that has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noisybench.errors import InputError
from noisybench.registry import did_you_mean
from noisybench.report import words
from noisybench.report.grid import Column, Entry, Grid, make_grids
from noisybench.report.results import RULES
from noisybench.report.statistics import summarise
from noisybench.suite.axes import flat

if TYPE_CHECKING:
    from noisybench.report.document import Report
    from noisybench.suite.reading import Node

KEYS = ("suite", "method", "noise", "rate", "dataset", "model", "rule", "value", "low", "high")


@dataclass(frozen=True)
class Window:
    """One line of the file. ``place``: file and line."""

    place: str
    method: str
    noise: str
    low: float
    high: float
    rate: float | None = None
    dataset: str | None = None
    model: str | None = None
    rule: str | None = None
    value: str | None = None
    suite: str | None = None

    def fits(self, suite: str, grid: Grid, column: Column, row: str, entry: Entry) -> bool:
        """The window is for this cell, of a report on this suite (or several; then the cell knows its own)."""
        return (
            self.suite in (None, entry.cell.suite or suite)
            and self.method in (row, entry.cell.method, entry.cell.variant)
            and self.noise in (column.label, column.short, column.kind)
            and (self.rate is None or (column.rate is not None and abs(column.rate - self.rate) < 1e-9))
            and self.dataset in (None, grid.dataset)
            and self.model in (None, grid.model)
        )

    def __str__(self) -> str:
        """``85 to 95``, ``at least 85`` or ``at most 95``."""
        if self.high == (100 if self.value is None else math.inf):
            return f"at least {self.low:g}"
        least = 0 if self.value is None else -math.inf
        return f"at most {self.high:g}" if self.low == least else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Outcome:
    """A cell and its window. ``found``: what was measured, in words."""

    window: Window
    cell: str
    found: str
    holds: bool

    def __str__(self) -> str:
        """One line; what does not hold names the window's place."""
        if self.holds:
            return f"holds: {self.cell}: {self.found}, expected {self.window}"
        return f"FAILS: {self.cell}: {self.found}, expected {self.window} ({self.window.place})"


def read_windows(path: Path) -> list[Window]:
    """The file's windows. InputError with file, line and key for anything else than the schema above."""
    from noisybench.suite.reading import read

    root = read(path)
    if not root.is_mapping:
        raise root.error("needs 'expect:', a list of windows such as {method: SAM, noise: symmetric 40 %, low: 85}")
    for key, node in root.value.items():
        if key not in ("rule", "expect"):
            raise node.error(f"unknown key{did_you_mean(str(key), ('rule', 'expect'))}; there are: rule, expect")
    items = root.get("expect")
    if items is None or not items.is_list or not items.value:
        raise (items or root).error("'expect' must be a list of windows, each with method, noise, and low or high")
    rule = _word(root, "rule")
    return [_window(item, rule) for item in items.value]


def _window(node: Node, rule: str | None) -> Window:
    if not node.is_mapping:
        raise node.error("a window is a mapping such as {method: SAM, noise: symmetric 40 %, low: 85, high: 95}")
    for key, item in node.value.items():
        if key not in KEYS:
            raise item.error(f"unknown key{did_you_mean(str(key), KEYS)}; there are: {', '.join(KEYS)}")
    method, noise = _word(node, "method"), _word(node, "noise")
    for name, value in (("method", method), ("noise", noise)):
        if value is None:
            raise node.error(f"'{name}' is missing")
    value = _word(node, "value")
    least, most = (0.0, 100.0) if value is None else (-math.inf, math.inf)
    low, high = _number(node, "low", least, most), _number(node, "high", least, most)
    if low is None and high is None:
        raise node.error(f"'low' or 'high' is missing: the window{', in percent' if value is None else ''}")
    if value is not None and "rule" in node.value:
        raise node.error("a window has 'rule', for accuracies, or 'value'")
    low, high = low if low is not None else least, high if high is not None else most
    if low > high:
        raise node.error(f"low {low:g} is above high {high:g}")
    return Window(
        node.place,
        str(method),
        str(noise),
        low,
        high,
        _number(node, "rate", 0, 1),
        _word(node, "dataset"),
        _word(node, "model"),
        _word(node, "rule") or rule,
        value,
        _word(node, "suite"),
    )


def _word(node: Node, key: str) -> str | None:
    found = node.get(key)
    if found is None:
        return None
    if found.value is None or found.is_mapping or found.is_list:
        raise found.error("must be a name")
    if key == "rule" and found.value not in RULES:
        raise found.error(f"no selection rule '{found.value}'; there are: {', '.join(RULES)}")
    return str(found.value)


def _number(node: Node, key: str, least: float, most: float) -> float | None:
    found = node.get(key)
    if found is None:
        return None
    number = found.value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not least <= number <= most:
        between = f" from {least:g} to {most:g}" if math.isfinite(most) else ""
        raise found.error(f"must be a number{between}, not {number!r}")
    return float(number)


def outcomes(report: Report, windows: Sequence[Window]) -> list[Outcome]:
    """Every window with every cell that it fits, in the file's order. InputError for a window that fits none, and where
    all of them are for other suites."""
    grids = {report.rule: report.grids}
    suites = {cell.suite or report.study.suite for cell in report.study.cells}
    asked = [window for window in windows if window.suite is None or window.suite in suites]
    if windows and not asked:
        others = ", ".join(dict.fromkeys(str(window.suite) for window in windows))
        raise InputError(f"{windows[0].place}: all windows are for other suites than {', '.join(suites)}: {others}")
    out = []
    for window in asked:
        rule = window.rule or report.rule
        if rule not in grids:
            grids[rule] = make_grids(report.study, rule)
        places = [(g, c, row, e) for g in grids[rule] for c in g.columns for row, e in g.column(c).items()]
        found = [place for place in places if window.fits(report.study.suite, *place)]
        if not found:
            raise InputError(f"{window.place}: no cell of the report has {_asked(window, places)}")
        _check_value(window, [entry for _, _, _, entry in found])
        out += [_outcome(window, *place) for place in found]
    return out


def _asked(window: Window, places: Sequence[tuple[Grid, Column, str, Entry]]) -> str:
    """What was asked for, with what there is of the first part that is unknown by itself."""
    there: dict[str, tuple[str | None, list[tuple[str, ...]]]] = {
        "method": (window.method, [(row, e.cell.method) for _, _, row, e in places]),
        "noise": (window.noise, [(c.short, c.label, c.kind) for _, c, _, _ in places]),
        "dataset": (window.dataset, [(g.dataset,) for g, _, _, _ in places]),
        "model": (window.model, [(g.model,) for g, _, _, _ in places]),
    }
    for what, (asked, names) in there.items():
        known = list(dict.fromkeys(name for spellings in names for name in spellings))
        if asked is not None and asked not in known:
            shown = list(dict.fromkeys(spellings[0] for spellings in names))  # one spelling each
            return f"{what} '{asked}'{did_you_mean(asked, known)}; there are: {', '.join(shown)}"
    rate = "" if window.rate is None else f", rate {window.rate:g}"
    return ", ".join(f"{what} '{asked}'" for what, (asked, _) in there.items() if asked is not None) + rate


def _check_value(window: Window, entries: Sequence[Entry]) -> None:
    """InputError where no finished run of the cells has a number of the name that the window asks for."""
    runs = [run for entry in entries for run in entry.cell.finished]
    if window.value is None or not runs or any(entry.cell.values(window.value) for entry in entries):
        return
    results = [{key: item for key, item in (run.result or {}).items() if key != "spec"} for run in runs]
    known = {key: None for result in results for key, item in flat(result).items() if isinstance(item, (int, float))}
    guess = did_you_mean(window.value, known)
    raise InputError(f"{window.place}: no record of these runs has a number 'result.{window.value}'{guess}")


def _outcome(window: Window, grid: Grid, column: Column, row: str, entry: Entry) -> Outcome:
    what = RULES[grid.rule] if window.value is None else window.value
    cell = f"{row} at {column.short} ({grid.dataset}, {grid.model}; {what})"
    summary = entry.summary
    if window.value is not None:
        summary = summarise(list(entry.cell.values(window.value).values()))
    if summary is None or entry.diverged or summary.n < entry.planned:
        return Outcome(window, cell, words.accuracy(entry), False)
    holds = window.low <= summary.mean <= window.high
    side = "" if holds else ", below" if summary.mean < window.low else ", above"
    shown = words.value(summary) if window.value is None else f"{summary.mean:.6g}"
    return Outcome(window, cell, f"{shown}{side}", holds)
