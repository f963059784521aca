"""A leaderboard over every ``report.json`` under a folder: for each data set and noise who is ahead, with links.

Methods are ordered by mean within one data set, noise and selection rule. That is an order of numbers, not a test:
different suites train for different times, on different networks and settings, so each line says where it is from.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from noisybench.errors import InputError
from noisybench.report import markdown
from noisybench.report.results import RULES, finite

CAUTION = (
    "Ordered by mean test accuracy. Places tell which number is higher, not that the difference is real, and suites "
    "differ in network, schedule and settings. ★ has the highest mean of its own report, ≈ is not told apart from it."
)
HEAD = ("place", "method", "accuracy, %", "seeds", "model", "suite", "notes")
MOST_NAMED = 6
PAGES = ("report.html", "report.md", "report.json")


@dataclass(frozen=True)
class Line:
    """One cell of one report."""

    method: str
    mean: float
    half_width: float | None
    n: int
    model: str
    suite: str
    link: str
    notes: tuple[str, ...]
    mark: str = ""

    @property
    def accuracy(self) -> str:
        """``87.65 ± 0.42 ★``."""
        half = "" if self.half_width is None else f" ± {self.half_width:.2f}"
        return f"{self.mean:.2f}{half}" + (f" {self.mark}" if self.mark else "")


@dataclass(frozen=True)
class Board:
    """``tables``: (data set, noise, rule) -> lines, the highest mean first. Not in them: ``skipped`` reports (file,
    why) and ``passed`` cells of the others (file, what and why)."""

    tables: Mapping[tuple[str, str, str], tuple[Line, ...]]
    skipped: tuple[tuple[str, str], ...]
    reports: int
    passed: tuple[tuple[str, str], ...] = ()

    @property
    def left_out(self) -> list[str]:
        """Everything that is in no table, a line each."""
        return [f"{name}: {why}" for name, why in (*self.skipped, *self.passed)]


def gather(folder: Path, out: Path) -> Board:
    """Every report under the folder; links are relative to ``out``. InputError when there is none that can be read."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    tables: dict[tuple[str, str, str], list[Line]] = {}
    skipped, passed, found = [], [], 0
    for path in sorted(folder.rglob("report.json")):
        data, why = _read(path)
        if data is None:
            skipped.append((path.relative_to(folder).as_posix(), why))
            continue
        found += 1
        lines, without = _lines(data, _link(path, out))
        for key, line in lines:
            tables.setdefault(key, []).append(line)
        passed += [(path.relative_to(folder).as_posix(), text) for text in without]
    if not found:
        told = f" that can be used ({'; '.join(f'{name}: {why}' for name, why in skipped)})" if skipped else ""
        raise InputError(f"{folder}: no report.json in it{told}; write one with: noisybench report RUNS --out DIR")
    ordered = {key: tuple(sorted(tables[key], key=lambda line: (-line.mean, line.method, line.link))) for key in tables}
    return Board({key: ordered[key] for key in sorted(ordered, key=_order)}, tuple(skipped), found, tuple(passed))


def _read(path: Path) -> tuple[Mapping[str, Any] | None, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None, "not readable as JSON"
    if not isinstance(data, dict) or data.get("schema") not in (1, 2) or not isinstance(data.get("cells"), list):
        return None, "no report of this version"
    if data.get("smoke") or data.get("synthetic"):
        return None, "a smoke run" if data.get("smoke") else "synthetic data in place of the real ones"
    return data, ""


Lines = list[tuple[tuple[str, str, str], Line]]


def _lines(data: Mapping[str, Any], link: str) -> tuple[Lines, list[str]]:
    """The cells that their report shows and ranks (with a mean, and no run that diverged); and what is passed over."""
    out: Lines = []
    without: dict[str, list[str]] = {}
    for cell in data["cells"]:
        if not isinstance(cell, dict):
            without.setdefault("not readable", []).append("a cell")
            continue
        names = [str(cell.get(key)) for key in ("dataset", "noise", "method", "model")]
        mean = finite(cell.get("mean"))
        if not cell.get("shown", True):  # a variant that its report did not choose
            without.setdefault("of a variant that was not chosen", []).append(str(cell.get("variant")))
            continue
        if mean is None or cell.get("diverged"):
            why = "with a run that diverged" if cell.get("diverged") else "without a result"
            without.setdefault(why, []).append(f"{names[2]} at {names[1]}")
            continue
        notes = [str(note) for note in cell.get("notes") or ()]
        planned, n = cell.get("planned"), int(cell.get("n") or 0)
        notes += [f"{n} of {planned} runs so far"] if isinstance(planned, int) and planned > n else []
        half = finite(cell.get("half_width"))
        mark = "★" if cell.get("best") is True else "≈" if cell.get("tied") is True else ""
        line = Line(names[2], mean, half, n, names[3], str(data.get("suite")), link, tuple(notes), mark)
        out.append(((names[0], names[1], str(cell.get("accuracy") or data.get("accuracy"))), line))
    return out, [f"{_cells(len(found))} {why}: {_few(found)}" for why, found in sorted(without.items())]


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _few(names: Sequence[str]) -> str:
    """The first of them, each once."""
    known = list(dict.fromkeys(names))
    return ", ".join(known[:MOST_NAMED]) + (f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else "")


def _link(path: Path, out: Path) -> str:
    """The page beside a report.json, as seen from the folder that the leaderboard lies in."""
    page = next(path.with_name(name) for name in PAGES if path.with_name(name).exists())
    return quote(Path(os.path.relpath(page.resolve(), out.resolve().parent)).as_posix())


def _order(key: tuple[str, str, str]) -> tuple[str, str, float, str, str]:
    """Data set, kind of noise, its rate as a number, rule."""
    dataset, noise, rule = key
    kind, _, rest = noise.partition(" ")
    try:
        return dataset, kind, float(rest.split(",")[0]), noise, rule
    except ValueError:
        return dataset, kind, -1.0, noise, rule


def _places(lines: Sequence[Line]) -> list[int]:
    """1 for the highest mean; equal means, as printed, share the better place."""
    shown = [round(line.mean, 2) for line in lines]
    return [1 + sum(other > mean for other in shown) for mean in shown]


def _about(board: Board) -> str:
    reports = "1 report" if board.reports == 1 else f"{board.reports} reports"
    return f"{reports}, {len(board.tables)} tables. {CAUTION}"


def _title(key: tuple[str, str, str]) -> str:
    return f"{key[0]}, {key[1]}: {RULES.get(key[2], key[2])}"


def markdown_text(board: Board) -> str:
    """As Markdown."""
    say = markdown.escape
    blocks = ["# Leaderboard", say(_about(board))]
    for key, lines in board.tables.items():
        rows = [
            [str(place), say(x.method), x.accuracy, str(x.n), say(x.model), _linked(x), say("; ".join(x.notes))]
            for place, x in zip(_places(lines), lines, strict=True)
        ]
        blocks += [f"## {say(_title(key))}", markdown.table(list(HEAD), rows)]
    if board.left_out:
        blocks += ["## Left out", "\n".join(f"- {say(line)}" for line in board.left_out)]
    return "\n\n".join(blocks) + "\n"


def _linked(line: Line) -> str:
    name = markdown.escape(line.suite).replace("[", r"\[").replace("]", r"\]")
    return f"[{name}]({line.link.replace('(', '%28').replace(')', '%29')})"


STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;"
    "padding:0 1rem}h2{margin-top:2.5rem}p{max-width:62rem}.wide{overflow-x:auto}table{border-collapse:collapse}"
    "th,td{padding:.25rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid #8886}"
    "th{border-bottom:2px solid;vertical-align:bottom}:is(th,td):is(:first-child,:nth-child(3),:nth-child(4))"
    "{text-align:right;font-variant-numeric:tabular-nums}:is(th,td):not(:nth-child(2),:last-child)"
    "{white-space:nowrap}:is(th,td):nth-child(2),:is(th,td):last-child{min-width:9rem;overflow-wrap:anywhere}"
    "tr:hover td{background:#8882}li{overflow-wrap:anywhere}"
    "@media print{body{margin:0;max-width:none}thead{display:table-header-group}tr{break-inside:avoid}}"
)


def html_text(board: Board) -> str:
    """As one page that needs no other file."""
    say = html.escape
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Leaderboard: noisybench</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Leaderboard</h1>",
        f"<p>{say(_about(board))}</p>\n<nav><ul>",
        *(f'<li><a href="#t{i}">{say(_title(key))}</a></li>' for i, key in enumerate(board.tables)),
        *(['<li><a href="#left-out">Left out</a></li>'] if board.left_out else []),
        "</ul></nav>",
    ]
    for i, (key, lines) in enumerate(board.tables.items()):
        parts.append(f'<h2 id="t{i}">{say(_title(key))}</h2>\n<div class="wide"><table>\n<thead><tr>')
        parts.append("".join(f'<th scope="col">{name}</th>' for name in HEAD) + "</tr></thead>\n<tbody>")
        for place, line in zip(_places(lines), lines, strict=True):
            cells = [str(place), line.method, line.accuracy, str(line.n), line.model]
            row = "".join(f"<td>{say(cell)}</td>" for cell in cells)
            row += f'<td><a href="{say(line.link)}">{say(line.suite)}</a></td><td>{say("; ".join(line.notes))}</td>'
            parts.append(f"<tr>{row}</tr>")
        parts.append("</tbody>\n</table></div>")
    if board.left_out:
        parts.append('<h2 id="left-out">Left out</h2>\n<ul>')
        parts += [f"<li>{say(line)}</li>" for line in board.left_out]
        parts.append("</ul>")
    return "\n".join([*parts, "</body>\n</html>"]) + "\n"


FORMS = {".html": html_text, ".md": markdown_text}
"""By the ending of the file."""
