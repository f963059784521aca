"""The report's main tables as plain text, for the end of a run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from noisybench.report import baseline, detection, markdown, remarks, rules, testset, words
from noisybench.report.grid import Entry
from noisybench.report.notes import Footnotes

if TYPE_CHECKING:
    from noisybench.report.document import Report


def render(report: Report, width: int) -> str:
    """Title, folders that the tables show nothing of, main tables, what is memorised, counts and closing sentences;
    lines fit ``width`` where names allow."""
    notes = Footnotes()
    blocks = ["\n".join(_wrap(line, width) for line in (report.title, *report.study.absent))]
    if report.study.smoke or report.study.synthetic:
        blocks.append(_wrap(markdown.banner(report), width))
    for grid, comparisons, orders, images in zip(
        report.grids, report.comparisons, report.orders, report.testsets, strict=True
    ):
        if len(report.grids) > 1:
            blocks.append(f"{grid.dataset}, {grid.model}")
        rows = [[row, *(_cell(grid.entry(row, c), notes) for c in grid.columns)] for row in grid.rows]
        blocks += _tables(["method", *(c.short for c in grid.columns)], rows, width)
        visible, compared = remarks.visible(grid), baseline.counts(grid, report.baseline)
        below = [*remarks.legend(grid, "*", "~"), *([visible] if visible else []), remarks.conventions(grid)]
        blocks.append(_wrap(" ".join(below), width))
        more = [line for line in (compared, rules.in_short(grid, orders), images and testset.in_short(images)) if line]
        blocks += ["\n".join(_wrap(line, width) for line in more)] if more else []
        blocks += [_wrap(line, width) for line in remarks.chosen(grid)]
        head, shares = markdown.memorised_rows(grid)
        if shares:
            blocks.append(_wrap("Wrong training labels memorised / corrected at the end, %", width))
            blocks += _tables(head, shares, width)
        head, found = detection.table_rows(grid)
        if found:
            text = f"{detection.TITLE}: area under the curve / right labels among those kept, % / estimated rate, %"
            blocks.append(_wrap(text, width))
            blocks += _tables(head, found, width)
        for comparison in comparisons:
            if comparison.partners:
                blocks.append(_wrap(f"Beside {comparison.source.name}: {markdown.verdicts(comparison)}", width))
    blocks += ["\n".join(_wrap(f"[{letter}] {text}", width) for letter, text in notes)] if len(notes) else []
    blocks.append("\n".join(_wrap(line, width) for line in [words.counts(report.study), *remarks.warnings(report)]))
    closing = remarks.sentences(report)
    blocks += [_wrap(" ".join(closing), width)] if closing else []
    return "\n\n".join(blocks) + "\n"


def _cell(entry: Entry | None, notes: Footnotes) -> str:
    if entry is None:
        return "-"
    mark = "*" if entry.best else "~" if entry.tied else " "
    return words.accuracy(entry) + mark + notes.mark(remarks.entry_notes(entry))


def _tables(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """One table, or several with the first column repeated where one would be wider than ``width``."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    blocks: list[list[int]] = [[]]
    used = widths[0]
    for i in range(1, len(head)):
        if blocks[-1] and used + 2 + widths[i] > width:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(i)
        used += 2 + widths[i]
    return [_table([[row[0], *(row[i] for i in block)] for row in [head, *rows]]) for block in blocks]


def _table(rows: list[list[str]]) -> str:
    align = ["left"] + ["right"] * (len(rows[0]) - 1)
    text = tabulate(
        rows[1:], headers=rows[0], tablefmt="simple", disable_numparse=True, colalign=align if rows[1:] else None
    )
    return "\n".join(line.rstrip() for line in str(text).split("\n"))


def _wrap(text: str, width: int) -> str:
    kept = text.replace(" %", "\N{NO-BREAK SPACE}%")  # no line begins with a percent sign
    filled = textwrap.fill(kept, width, break_long_words=False, break_on_hyphens=False)
    return filled.replace("\N{NO-BREAK SPACE}%", " %")
