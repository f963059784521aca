"""The report as Markdown: readable in a terminal and on a code host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from noisybench.literature.words import ARCHITECTURES, FLIPS, RULES
from noisybench.report import baseline, detection, overall, remarks, rules, testset, words
from noisybench.report.grid import Entry, Grid
from noisybench.report.notes import Footnotes
from noisybench.report.pair import Reason, footnotes_of
from noisybench.report.published import Comparison, Partner, alone_by_method
from noisybench.report.statistics import summarise

if TYPE_CHECKING:
    from noisybench.report.document import Report


def escape(text: str) -> str:
    """Text as Markdown shows it, on one line: no emphasis, no HTML, no link, no table cell begins or ends in it."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", re.sub(r"\s+", " ", text).strip())  # else it would be a character's name
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|*`])", r"\\\1", text)
    return re.sub(r"\](?=[(:])", r"\\]", text)  # no link is made


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with the first column to the left; cells are Markdown already."""
    align = ["left"] + ["right"] * (len(head) - 1)
    return str(
        tabulate(rows, headers=list(head), tablefmt="pipe", disable_numparse=True, colalign=align if rows else None)
    )


def render(report: Report) -> str:
    """The whole report."""
    notes = Footnotes()
    blocks = [f"# {escape(report.title)}", *(f"**{escape(line)}**" for line in report.study.absent)]
    if report.study.description:
        blocks.append(escape(report.study.description))
    if report.study.smoke or report.study.synthetic:
        blocks.append(f"**{escape(banner(report))}**")
    blocks.append(escape(words.counts(report.study)))
    blocks += [escape(line) for line in remarks.warnings(report)]
    for grid, comparisons, orders, images in zip(
        report.grids, report.comparisons, report.orders, report.testsets, strict=True
    ):
        blocks.append(f"## {escape(grid.dataset)}, {escape(grid.model)}")
        blocks += _main(grid, notes)
        blocks += _against(grid, report.baseline)
        blocks += _orders(grid, orders)
        blocks += _images(grid, images)
        blocks += _memorised(grid)
        blocks += _detection(grid)
        for comparison in comparisons:
            blocks += _published(grid, comparison, notes)
    blocks += _overall(report)
    closing = remarks.sentences(report)
    if closing:
        blocks += ["## In words", " ".join(escape(sentence) for sentence in closing)]
    if len(notes):
        blocks.append("## Footnotes")
        blocks.append("\n".join(f"- [{letter}] {escape(text)}" for letter, text in notes))
    return "\n\n".join(blocks) + "\n"


def banner(report: Report) -> str:
    """What a smoke run or stand-in data must say first."""
    parts = []
    if report.study.smoke:
        parts.append("Smoke run: a tiny subset and a few epochs, to see that everything works.")
    if report.study.synthetic:
        parts.append("Synthetic data in place of the real data set.")
    return " ".join([*parts, "No published score is shown."])


def _main(grid: Grid, notes: Footnotes) -> list[str]:
    rows = []
    for row in grid.rows:
        cells = [_cell(grid.entry(row, column), notes) for column in grid.columns]
        rows.append([escape(row), *cells])
    blocks = [table(["method", *(escape(c.short) for c in grid.columns)], rows)]
    lines = remarks.legend(grid, "**Bold**", "*Italic*")
    visible = remarks.visible(grid)
    lines += [escape(visible)] if visible else []
    blocks.append(" ".join([*lines, escape(remarks.conventions(grid))]))
    chosen = remarks.chosen(grid)
    if chosen:
        blocks.append("\n".join(f"- {escape(line)}" for line in chosen))
    return blocks


def _cell(entry: Entry | None, notes: Footnotes) -> str:
    if entry is None:
        return "–"
    text = words.accuracy(entry)
    text = f"**{text}**" if entry.best else f"*{text}*" if entry.tied else text
    return text + notes.mark(remarks.entry_notes(entry))


def _against(grid: Grid, named: str | None) -> list[str]:
    head, rows = baseline.table_rows(grid, named)
    if not rows:
        return []
    told = [(row, [(escape(cell.text), cell.apart) for cell in cells]) for row, cells in rows]
    body = [[escape(row), *(f"**{text}**" if apart else text for text, apart in cells)] for row, cells in told]
    return [
        f"### Against {escape(str(baseline.control(grid, named)))}",
        baseline.MEANING + (f" {baseline.TESTED}" if any(cell.tested for _, cells in rows for cell in cells) else ""),
        table([escape(text) for text in head], body),
    ]


def _orders(grid: Grid, found: Sequence[rules.Order]) -> list[str]:
    head, rows = rules.table_rows(grid, found)
    if not rows:
        return []
    moved = rules.moved(grid, found)
    return [
        "### Order under other selection rules",
        rules.MEANING,
        table([escape(text) for text in head], [[escape(text) for text in row] for row in rows]),
        "\n".join(f"- {escape(line)}" for line in moved) if moved else "No method changes its place.",
    ]


def _images(grid: Grid, found: testset.TestSet | None) -> list[str]:
    if found is None:
        return []
    head, rows = testset.table_rows(grid, found)
    return [
        "### The test set's own part",
        escape(testset.meaning(found)),
        table([escape(text) for text in head], [[escape(row[0]), *row[1:]] for row in rows]),
    ]


def _overall(report: Report) -> list[str]:
    ranking = overall.overall(report.grids)
    if ranking is None:
        return []
    rows = [
        [escape(m), f"{rank:.2f}"] for m, rank in sorted(ranking.ranks.items(), key=lambda item: (item[1], item[0]))
    ]
    lines = [overall.MEANING, *overall.sentences(ranking)]
    return ["## Over all data sets", table(["method", "mean rank"], rows), escape(" ".join(lines))]


MEMORISED = (
    "Of the training images with a wrong label, the share in % that the final network gives its wrong label "
    "(memorised) and its true label (corrected). Mean over finished runs."
)


def memorised_rows(grid: Grid) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the memorised / corrected table, over the noises that flip labels; no rows where none does."""
    shares = {
        place: tuple(summarise(list(entry.cell.values(f"final.{key}").values())) for key in ("memorised", "corrected"))
        for place, entry in grid.entries.items()
    }
    columns = [c for c in grid.columns if any(shares.get((row, c.label), (None,))[0] for row in grid.rows)]
    rows = []
    for row in grid.rows:
        cells = []
        for column in columns:
            memorised, corrected = shares.get((row, column.label), (None, None))
            both = [f"{s.mean:.1f}" if s else "–" for s in (memorised, corrected)]
            cells.append(" / ".join(both) if memorised or corrected else "–")
        if any(cell != "–" for cell in cells):
            rows.append([row, *cells])
    return ["method", *(c.short for c in columns)], rows


def _detection(grid: Grid) -> list[str]:
    head, rows = detection.table_rows(grid)
    if not rows:
        return []
    shown = table([escape(text) for text in head], [[escape(text) for text in row] for row in rows])
    return [f"### {detection.TITLE}", detection.MEANING, shown]


def _memorised(grid: Grid) -> list[str]:
    head, rows = memorised_rows(grid)
    if not rows:
        return []
    return [
        "### Memorised / corrected",
        MEMORISED,
        table([escape(text) for text in head], [[escape(text) for text in row] for row in rows]),
    ]


def _published(grid: Grid, comparison: Comparison, notes: Footnotes) -> list[str]:
    source, partners = comparison.source, comparison.partners
    blocks = [f"### Beside {escape(source.name)}", escape(f"{source.title}.")]
    if not partners:
        blocks.append("No row of it has a partner here.")
    else:
        everywhere = set.intersection(*(set(partner.reasons) for partner in partners.values()))
        rows = []
        for row in grid.rows:
            cells = [_pair(partners.get((row, column.label)), everywhere, notes) for column in grid.columns]
            if any(cell != "–" for cell in cells):
                rows.append([escape(row), *cells])
        known = any(partner.half_width is not None for partner in partners.values())
        welch = " ± where the published number of seeds and spread are known (Welch, 95 %)." if known else ""
        blocks.append(f"Published accuracy, and in brackets the one measured here minus the published.{welch}")
        blocks.append(table(["method", *(escape(c.short) for c in grid.columns)], rows))
        shared = [reason for reason in next(iter(partners.values())).reasons if reason in everywhere]
        if shared:
            blocks.append(f"Of every pair:{notes.mark(footnotes_of(shared))}.")
        blocks.append(escape(verdicts(comparison)))
    lonely = alone_by_method(comparison, grid)
    if lonely:
        blocks.append("Published there for these noises, without a partner here:")
        body = [[escape(m), *(words.published(s.acc) if s else "–" for s in found)] for m, found in lonely]
        blocks.append(table(["method", *(escape(c.short) for c in grid.columns)], body))
    if comparison.elsewhere:
        blocks.append(f"{comparison.elsewhere} more scores of it are on other data sets, noises or rates.")
    return blocks


def verdicts(comparison: Comparison) -> str:
    """How many pairs may be compared."""
    found = [partner.verdict for partner in comparison.partners.values()]
    parts = [
        f"{found.count('comparable')} comparable",
        f"{found.count('unknown')} perhaps (nothing differs, but not all is known)",
        f"{found.count('differs')} not comparable",
    ]
    if found.count(None):
        parts.append(f"{found.count(None)} not measured yet")
    return f"{len(found)} {'pair' if len(found) == 1 else 'pairs'}: {', '.join(parts)}."


def _pair(partner: Partner | None, everywhere: set[Reason], notes: Footnotes) -> str:
    if partner is None:
        return "–"
    texts = footnotes_of([reason for reason in partner.reasons if reason not in everywhere])
    if partner.alternatives:
        texts.append(shown_row(partner))
    difference = "–" if partner.difference is None else words.signed(partner.difference)
    difference += "" if partner.half_width is None else f" ± {partner.half_width:.1f}"
    return f"{words.published(partner.score.acc)} ({difference}){notes.mark(texts)}"


def shown_row(partner: Partner) -> str:
    """Which of several matching rows of a source is shown."""
    score = partner.score
    parts = [f"selection rule {RULES[score.epoch] if score.epoch else 'not stated'}"]
    parts += [f"flip {FLIPS[score.flip]}"] if score.flip else []
    parts += [ARCHITECTURES[score.arch].label] if score.arch else []
    return (
        f"{partner.alternatives + 1} rows of the source match; shown is the nearest ({', '.join(parts)}; {score.table})"
    )
