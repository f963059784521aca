"""The page, filled in: text is escaped by the template, pictures, style and script are the package's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from noisybench.report import baseline, detection, markdown, overall, remarks, rules, testset, words
from noisybench.report.figures import MOST_TABLES, Picture, across, pictures
from noisybench.report.grid import Grid
from noisybench.report.html.tables import Table, table
from noisybench.report.html.views import views
from noisybench.report.made import Made, duration, made, varying
from noisybench.report.notes import Footnotes
from noisybench.report.published import Comparison, alone_by_method
from noisybench.report.results import RULES
from noisybench.report.rules import Order
from noisybench.report.testset import TestSet

if TYPE_CHECKING:
    from noisybench.report.document import Report

HERE = Path(__file__).parent


@dataclass(frozen=True)
class View:
    """A grid under one selection rule."""

    rule: str
    meaning: str
    table: Table


@dataclass(frozen=True)
class Plain:
    """A smaller table: what it is, what it means, and lines below it."""

    title: str
    meaning: str
    head: list[str]
    rows: list[list[str]]
    below: list[str]


@dataclass(frozen=True)
class Section:
    """Everything on one data set and model."""

    title: str
    views: list[View]
    tables: list[Plain]
    pictures: tuple[tuple[Picture, Markup], ...]


def render(report: Report, refresh: float | None = None) -> str:
    """The whole page; ``refresh``: it loads itself anew every so many seconds."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    notes, seen = Footnotes(), views(report)
    cells, several = report.study.cells, varying(report.study)
    places = {id(cell): number for number, cell in enumerate(cells)}
    columns: dict[str, int] = {}
    shorts: dict[int, str] = {}
    for grid in report.grids:
        for column in grid.columns:
            shorts.setdefault(columns.setdefault(column.label, len(columns)), column.short)
    drawn = pictures(report)
    sections = []
    for i, (grid, comparisons) in enumerate(zip(report.grids, report.comparisons, strict=True)):
        rows = [
            View(view.rule, RULES[view.rule], table(view.grids[i], view.comparisons[i], notes, columns, places))
            for view in seen
        ]
        sections.append(
            Section(
                f"{grid.dataset}, {grid.model}",
                rows,
                _tables(report, grid, comparisons, report.orders[i], report.testsets[i]),
                _drawn(drawn[i] if i < len(drawn) else ()),
            )
        )
    return environment.get_template("page.html").render(
        report=report,
        refresh=None if refresh is None else f"{refresh:g}",
        banner=markdown.banner(report) if report.study.smoke or report.study.synthetic else "",
        counts=words.counts(report.study),
        warnings=remarks.warnings(report),
        sentences=remarks.sentences(report),
        rules=[(view.rule, RULES[view.rule]) for view in seen],
        columns=[(number, shorts[number]) for number in columns.values()],
        sections=sections,
        overall=_overall(report),
        ranks=_drawn(across(report)),
        published=any(comparison.partners for found in report.comparisons for comparison in found),
        notes=list(notes),
        made=[_summary(made(report.study, cell, several), several) for cell in cells],
        duration=duration,
        rule_names=RULES,
        most_tables=MOST_TABLES,
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )


def _drawn(found: Iterable[Picture]) -> tuple[tuple[Picture, Markup], ...]:
    return tuple((picture, Markup(picture.inline())) for picture in found)


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _summary(found: Made, several: frozenset[str]) -> tuple[str, str, Made]:
    """Name, and what became of the runs in few words."""
    cell = found.cell
    name = ", ".join([cell.variant, cell.noise, *(getattr(cell, k) for k in ("dataset", "model") if k in several)])
    return name, f"{len(cell.finished)} of {len(cell.runs)} runs finished", found


def _tables(
    report: Report, grid: Grid, comparisons: tuple[Comparison, ...], orders: tuple[Order, ...], images: TestSet | None
) -> list[Plain]:
    out = []
    head, compared = baseline.table_rows(grid, report.baseline)
    if compared:
        body = [[row, *(f"{cell.text} *" if cell.apart else cell.text for cell in cells)] for row, cells in compared]
        meaning = baseline.MEANING.replace("**Bold**", "A star")
        meaning += f" {baseline.TESTED}" if any(cell.tested for _, cells in compared for cell in cells) else ""
        out.append(Plain(f"Against {baseline.control(grid, report.baseline)}", meaning, head, body, []))
    head, rows = rules.table_rows(grid, orders)
    if rows:
        below = rules.moved(grid, orders) or ["No method changes its place."]
        out.append(Plain("Order under other selection rules", rules.MEANING, head, rows, below))
    if images is not None:
        head, rows = testset.table_rows(grid, images)
        out.append(Plain("The test set's own part", testset.meaning(images), head, rows, []))
    head, rows = markdown.memorised_rows(grid)
    if rows:
        out.append(Plain("Memorised / corrected", markdown.MEMORISED, head, rows, []))
    head, rows = detection.table_rows(grid)
    if rows:
        out.append(Plain(detection.TITLE, detection.MEANING, head, rows, []))
    for comparison in comparisons:
        lonely = alone_by_method(comparison, grid)
        below = []
        if comparison.elsewhere:
            below = [f"{comparison.elsewhere} more scores of it are on other data sets, noises or rates."]
        rows = [[method, *(words.published(s.acc) if s else "–" for s in found)] for method, found in lonely]
        if rows or below:
            title = f"Published in {comparison.source.name}, without a partner here"
            out.append(
                Plain(title, f"{comparison.source.title}.", ["method", *(c.short for c in grid.columns)], rows, below)
            )
    return out


def _overall(report: Report) -> Plain | None:
    ranking = overall.overall(report.grids)
    if ranking is None:
        return None
    rows = [[m, f"{rank:.2f}"] for m, rank in sorted(ranking.ranks.items(), key=lambda item: (item[1], item[0]))]
    return Plain("Over all data sets", overall.MEANING, ["method", "mean rank"], rows, overall.sentences(ranking))
