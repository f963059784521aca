"""A comparison of two results folders as text, Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from noisybench.report import markdown, words
from noisybench.report.compare import Contrast, Pair, Place
from noisybench.report.results import RULES, Cell
from noisybench.report.spreadsheet import csv_of

BLOCKS = ("data", "noise", "model", "method")


def text(found: Contrast) -> str:
    """For a terminal."""
    head, rows = _table(found)
    table = tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True)
    return "\n\n".join([*_above(found), table, *("\n".join(part) for part in _below(found) if part)]) + "\n"


def markdown_text(found: Contrast) -> str:
    """The same as Markdown."""
    say = markdown.escape
    head, rows = _table(found)
    body = [[say(cell) for cell in row] for row in rows]
    blocks = [f"# {say(found.names[1])} against {say(found.names[0])}", *(say(line) for line in _above(found))]
    blocks.append(markdown.table([say(name) for name in head], body))
    blocks += ["\n".join(f"- {say(line)}" for line in part) for part in _below(found) if part]
    return "\n\n".join(blocks) + "\n"


def csv_text(found: Contrast) -> str:
    """One row a cell that both have."""
    return csv_of([_row(found, pair) for pair in found.pairs])


def json_text(found: Contrast) -> str:
    """Everything, keys in a fixed order."""
    data = {
        "schema": 1,
        "first": found.names[0],
        "second": found.names[1],
        "accuracy": found.rule,
        "cells": [_row(found, pair) for pair in found.pairs],
        "only_first": [dict(zip(BLOCKS, place, strict=True)) for place in found.only_first],
        "only_second": [dict(zip(BLOCKS, place, strict=True)) for place in found.only_second],
        "settings": [
            {"path": path, "first": json.loads(one), "second": json.loads(two), "cells": n}
            for path, one, two, n in found.changes
        ],
        "versions": [{"name": name, "first": one, "second": two} for name, one, two in found.versions],
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMS: dict[str, Callable[[Contrast], str]] = {".md": markdown_text, ".csv": csv_text, ".json": json_text}
"""By the ending of the file."""


def _row(found: Contrast, pair: Pair) -> dict[str, Any]:
    first, second = pair.means
    return {
        **dict(zip(BLOCKS, pair.place, strict=True)),
        "accuracy": found.rule,
        "first": first.mean if first else None,
        "first_n": first.n if first else 0,
        "second": second.mean if second else None,
        "second_n": second.n if second else 0,
        "difference": pair.difference.mean if pair.difference else None,
        "half_width": pair.half_width,
        "p_holm": pair.p,
        "test": pair.how or None,
        "apart": pair.apart,
        "identical": pair.identical,
        "settings": [f"{path}: {one} -> {two}" for path, one, two in pair.changes],
    }


def _above(found: Contrast) -> list[str]:
    return [
        f"A: {found.names[0]}. B: {found.names[1]}. Test accuracy in %, {RULES[found.rule]}.",
        in_words(found),
    ]


def in_words(found: Contrast) -> str:
    """How many cells differ, in one sentence or two."""
    if not found.pairs:
        return "The two have no cell in common."
    tested = [pair for pair in found.pairs if pair.p is not None]
    up = sum(pair.apart and pair.difference is not None and pair.difference.mean > 0 for pair in tested)
    down = sum(pair.apart for pair in tested) - up
    same = sum(pair.identical for pair in found.pairs)
    parts = [f"{up} higher in B", f"{down} lower", f"{len(tested) - up - down} not told apart"]
    if rest := len(found.pairs) - len(tested):
        parts.append(f"{rest} without a test (one seed, or runs that diverged or have no result)")
    equal = f" In {same} every run that both have came out the same." if same else ""
    return f"{_cells(len(found.pairs))} in both: {', '.join(parts)} (Holm, 5 % for all together).{equal}"


def _table(found: Contrast) -> tuple[list[str], list[list[str]]]:
    """Head and rows; a block that is the same everywhere is no column."""
    shown = [i for i in range(4) if i == 3 or len({pair.place[i] for pair in found.pairs}) > 1]
    head = [*(BLOCKS[i] for i in shown), "A", "B", "B - A", "p", "test"]
    return head, [[*(pair.place[i] for i in shown), *_cells_of(pair)] for pair in found.pairs]


def _cells_of(pair: Pair) -> list[str]:
    one, two = (_mean(cell, mean) for cell, mean in zip((pair.first, pair.second), pair.means, strict=True))
    if pair.difference is None:
        return [one, two, "–", "", ""]
    number = f"{pair.difference.mean:+.2f}" if round(pair.difference.mean, 2) else "0.00"
    half = "" if pair.half_width is None else f" ± {pair.half_width:.2f}"
    if pair.identical:
        return [one, two, number, "", "identical"]
    p = "" if pair.p is None else f"{words.probability(pair.p)}{' *' if pair.apart else ''}"
    return [one, two, number + half, p, pair.how if pair.p is not None else "one seed"]


def _mean(cell: Cell, mean: Any) -> str:
    if diverged := cell.count("diverged"):
        return f"{diverged}/{len(cell.runs)} diverged"
    if mean is None:
        return "no result"
    return f"{mean.mean:.2f} (n = {mean.n})"


def _below(found: Contrast) -> list[list[str]]:
    marks = [
        "* differs; paired: by seed on the same noisy labels; Welch: independent samples; ± 95 % of one cell alone, "
        "its spread over seeds no smaller than that of rounding to whole test images."
    ]
    alone = [
        f"Only in {letter} ({_cells(len(places))}): {'; '.join(map(_named, places[:20]))}{_more(places)}."
        for letter, places in (("A", found.only_first), ("B", found.only_second))
        if places
    ]
    settings = [f"{path}: {one} in A, {two} in B ({_cells(n)})" for path, one, two, n in found.changes]
    versions = [f"{name}: {one} in A, {two} in B" for name, one, two in found.versions]
    return [
        marks if any(pair.p is not None for pair in found.pairs) else [],
        alone,
        ["Settings that differ:", *settings] if settings else [],
        ["Versions that differ:", *versions] if versions else [],
    ]


def _named(place: Place) -> str:
    data, noise, model, method = place
    return f"{method} at {noise} ({data}, {model})"


def _more(places: Sequence[Place]) -> str:
    return f"; and {len(places) - 20} more" if len(places) > 20 else ""


def _cells(n: int) -> str:
    return f"{n} cell" if n == 1 else f"{n} cells"
