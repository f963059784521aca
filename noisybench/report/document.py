"""The report as one value, and its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noisybench.errors import InputError
from noisybench.literature import load_source
from noisybench.registry import did_you_mean
from noisybench.report import markdown, rows, terminal, tidy
from noisybench.report.baseline import check_baseline
from noisybench.report.grid import Grid, check_rule, make_grids
from noisybench.report.merge import read_studies
from noisybench.report.published import Comparison, beside
from noisybench.report.results import RULES, Study
from noisybench.report.rules import Order, orders
from noisybench.report.testset import TestSet, measure
from noisybench.store import write_atomic

TEXTS = ("md", "csv", "json")
FORMS = ("html", *TEXTS, "tex", "svg", "png")
"""What a report is written as; svg and png are its pictures."""


def check_forms(forms: Sequence[str]) -> None:
    """InputError unless there is one and all are forms of a report."""
    for form in forms or ("",):
        if form not in FORMS:
            raise InputError(f"no report form '{form}'{did_you_mean(form, FORMS)}; there are: {', '.join(FORMS)}")


@dataclass(frozen=True)
class Report:
    """What a results folder says under one selection rule. Its forms are pure functions of it."""

    study: Study
    rule: str
    grids: tuple[Grid, ...]
    comparisons: tuple[tuple[Comparison, ...], ...]  # for each grid, the published tables beside it
    baseline: str | None = None  # the method that was named for all to be compared with
    orders: tuple[tuple[Order, ...], ...] = ()  # for each grid, its order under every selection rule
    testsets: tuple[TestSet | None, ...] = ()  # for each grid, what its test images leave open

    @property
    def title(self) -> str:
        """Suite, selection rule and recipe in one line."""
        kind = "smoke run of " if self.study.smoke else ""
        return f"{kind}{self.study.named}: test accuracy in %, {RULES[self.rule]}, {self.study.recipe} recipe"

    def to_markdown(self) -> str:
        """The whole report as Markdown."""
        return markdown.render(self)

    def to_text(self, width: int = 100) -> str:
        """The main tables and what they say, for a terminal."""
        return terminal.render(self, width)

    def to_csv(self) -> str:
        """One row for each cell, every variant."""
        return tidy.csv_text(self)

    def to_runs_csv(self) -> str:
        """One row for each planned run."""
        return rows.runs_csv(self)

    def to_json(self) -> str:
        """Everything, with the single runs."""
        return tidy.json_text(self)

    def to_html(self, refresh: float | None = None) -> str:
        """Everything as one page that needs no other file: tables, pictures, and how each number was made.

        ``refresh``: while a study is watched, seconds after which the page loads itself anew.
        """
        from noisybench.report import html  # the page draws and knows the components' defaults: only when it is wanted

        return html.render(self, refresh)

    def to_latex(self) -> dict[str, str]:
        """Name of a file -> text: booktabs tables, a document around them, and the bibliography."""
        from noisybench.report import latex  # it knows the components' citations

        return latex.files(self)

    def figures(self, form: str = "svg") -> dict[str, bytes]:
        """Name of a file -> picture, ``svg`` or ``png``."""
        from noisybench.report.figures import across, pictures

        drawn = [picture for found in (*pictures(self), across(self)) for picture in found]
        return {f"{p.name}.{form}": p.png() if form == "png" else p.svg().encode() for p in drawn}

    def write(self, folder: str | Path, forms: Sequence[str] = TEXTS, *, refresh: float | None = None) -> list[Path]:
        """Write ``report.md`` and so on, ``runs.csv`` beside ``report.csv``, and pictures into ``figures``; returns the
        paths.

        All forms are made before any is written, and each is written under a temporary name first. ``refresh``: see
        ``to_html``. InputError for an unknown form.
        """
        check_forms(forms)
        folder, files = Path(folder), dict[str, bytes]()
        texts = {
            "html": lambda: self.to_html(refresh),
            "md": self.to_markdown,
            "csv": self.to_csv,
            "json": self.to_json,
        }
        for form in dict.fromkeys(forms):
            if form in texts:
                files[f"report.{form}"] = texts[form]().encode()
                files |= {"runs.csv": self.to_runs_csv().encode()} if form == "csv" else {}
            elif form == "tex":
                files |= {name: text.encode() for name, text in self.to_latex().items()}
            else:
                files |= {f"figures/{name}": data for name, data in self.figures(form).items()}
        for name, data in files.items():
            write_atomic(folder / name, data)
        return [folder / name for name in files]


def report(
    *run_dirs: str | Path,
    accuracy: str | None = None,
    compare: Sequence[str] | None = None,
    baseline: str | None = None,
    only: Sequence[str] = (),
    verified_only: bool = False,
) -> Report:
    """The report on one results folder, or on several where they may be compared: a pure function of their plans, the
    records and test predictions of their runs, and the published scores.

    ``accuracy`` (a selection rule), ``compare`` (names of published tables) and ``baseline`` (the method the others
    are compared with; without one, each table's first) replace what the plan says. ``only``: conditions ``KEY=A|B``
    that a run must meet. ``verified_only`` leaves published scores out that nobody read in a paper.
    InputError without a plan or with an unknown rule, table or method; StoreError when the plan is damaged.
    """
    study = read_studies([Path(run_dir) for run_dir in run_dirs], only)
    rule = accuracy if accuracy is not None else study.accuracy
    check_rule(rule)
    grids = make_grids(study, rule)
    baseline = baseline if baseline is not None else study.baseline
    check_baseline(baseline, grids)
    names = compare if compare is not None else study.compare
    sources = [load_source(name) for name in dict.fromkeys(names)]  # an unknown one is an error in a smoke run too
    if study.smoke or study.synthetic:
        sources = []
    if verified_only:
        sources = [replace(source, scores=tuple(s for s in source.scores if s.verified)) for source in sources]
    comparisons = [[beside(grid, source, rule) for source in sources] for grid in grids]
    return Report(
        study,
        rule,
        grids,
        tuple(map(tuple, comparisons)),
        baseline,
        orders(study, grids, rule),
        tuple(measure(grid) for grid in grids),
    )
