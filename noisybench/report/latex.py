r"""The report as LaTeX: booktabs tables to ``\input`` into a paper, a document around them, and the bibliography."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from noisybench import registry
from noisybench.errors import DataError, NoisybenchError
from noisybench.literature import Citation, bibtex, citations
from noisybench.literature.tex import escape
from noisybench.report import markdown, remarks, words
from noisybench.report.grid import Column, Entry, Grid
from noisybench.report.notes import Footnotes
from noisybench.report.pair import Reason, footnotes_of
from noisybench.report.published import Comparison, Partner
from noisybench.report.results import Cell
from noisybench.spec import at, component_mappings

if TYPE_CHECKING:
    from noisybench.report.document import Report

COLUMNS = 5
"""So many noises stand side by side; more go into a second block below the first."""
ROWS = 40
"""So many rows of all blocks together fit on a page; more make further tables."""
OF_METHODS = ("optimizer", "algorithm", "loss")
MIXUP = "zhang2018mixup"
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\begin{document}
\input{report-tables}
\clearpage
BIBLIOGRAPHY\end{document}
"""
BIBLIOGRAPHY = r"""\bibliographystyle{plain}
\bibliography{report}
"""


def files(report: Report) -> dict[str, str]:
    """``report-tables.tex``, ``report.tex`` that shows them, and ``report.bib`` with all that they cite."""
    tables = render(report)
    keys = {key.strip() for found in re.findall(r"\\cite\{([^}]*)\}", tables) for key in found.split(",")}
    return {
        "report.tex": DOCUMENT.replace("BIBLIOGRAPHY", BIBLIOGRAPHY if keys else ""),
        "report-tables.tex": tables,
        "report.bib": bibtex.bibliography(keys, _own(report)),
    }


def render(report: Report) -> str:
    """All tables, ASCII; needs the package booktabs."""
    blocks = [r"% Tables of noisybench; need \usepackage{booktabs}, and report.bib for the citations."]
    names: set[str] = set()
    citable = {*citations(), *_own(report)}
    for grid, comparisons in zip(report.grids, report.comparisons, strict=True):
        label = _label(f"{grid.dataset}-{grid.model}", names)
        blocks.append(_main(report, grid, comparisons, label, citable))
        for comparison in comparisons:
            if comparison.partners:
                below = _label(f"{label}-{comparison.source.name}", names)
                blocks.append(_published(grid, comparison, below, citable))
    return "\n\n".join(blocks) + "\n"


def _label(text: str, names: set[str]) -> str:
    """Letters, digits and hyphens; another one for each table."""
    plain = label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "table"
    number = 2
    while label in names:
        label, number = f"{plain}-{number}", number + 1
    names.add(label)
    return label


def _main(report: Report, grid: Grid, comparisons: Sequence[Comparison], label: str, citable: Collection[str]) -> str:
    notes = Footnotes()
    rows = []
    for row in grid.rows:
        cells = [_cell(grid.entry(row, column), notes) for column in grid.columns]
        rows.append([escape(row) + _cite(_of_row(grid, row, comparisons), citable), *cells])
    about = [remarks.conventions(grid), *([remarks.visible(grid) or ""])]
    above = markdown.banner(report) if report.study.smoke or report.study.synthetic else ""
    caption = [_prose(text) for text in (above, _sentence(report.title)) if text]
    caption += [_where(grid, citable)]
    caption += [_prose(" ".join(remarks.legend(grid, "Bold", "Italic")))]
    below = [" ".join(text for text in about if text), *remarks.chosen(grid), words.counts(report.study)]
    below = [_prose(text) for text in [*report.study.absent, *below, *remarks.warnings(report)]]
    return _table(grid.columns, rows, " ".join(caption), label, [*below, *_listed(notes)])


def _where(grid: Grid, citable: Collection[str]) -> str:
    """Data set, network and kinds of noise, each with its paper."""
    cells = [entry.cell for entry in grid.entries.values()]
    names = [escape(grid.dataset) + _cite(_keys(cells, ("dataset",)), citable)]
    names += [escape(grid.model) + _cite(_keys(cells, ("model",)), citable)]
    kinds: dict[str, list[Cell]] = {}
    for column in grid.columns:
        kinds.setdefault(column.kind, []).extend(entry.cell for entry in grid.column(column).values())
    for kind, found in kinds.items():
        names.append(escape(kind if kind == "clean" else f"{kind} noise") + _cite(_keys(found, ("noise",)), citable))
    return f"{', '.join(names)}."


def _cell(entry: Entry | None, notes: Footnotes) -> str:
    if entry is None:
        return "--"
    text = escape(words.accuracy(entry))
    text = rf"\textbf{{{text}}}" if entry.best else rf"\textit{{{text}}}" if entry.tied else text
    return text + _mark(notes, remarks.entry_notes(entry))


def _published(grid: Grid, comparison: Comparison, label: str, citable: Collection[str]) -> str:
    notes = Footnotes()
    partners = comparison.partners
    everywhere = set.intersection(*(set(partner.reasons) for partner in partners.values()))
    rows = []
    for row in grid.rows:
        pairs = [partners.get((row, column.label)) for column in grid.columns]
        if any(pairs):
            rows.append([escape(row), *(_pair(pair, everywhere, notes) for pair in pairs)])
    cited = _cite([pair.score.cite for pair in partners.values()], citable)
    known = any(pair.half_width is not None for pair in partners.values())
    caption = f"{escape(comparison.source.title)}{cited}: published accuracy in \\%, and in brackets the one measured "
    caption += "here minus the published" + (r", \ensuremath{\pm} its 95 \% interval (Welch)." if known else ".")
    caption += f" {escape(grid.dataset)}, {escape(grid.model)}."
    shared = footnotes_of([reason for reason in next(iter(partners.values())).reasons if reason in everywhere])
    below = [
        _prose(markdown.verdicts(comparison)),
        *([_prose(f"Of every pair: {'; '.join(shared)}.")] if shared else []),
    ]
    return _table(grid.columns, rows, caption, label, [*below, *_listed(notes)])


def _pair(pair: Partner | None, everywhere: set[Reason], notes: Footnotes) -> str:
    if pair is None:
        return "--"
    texts = footnotes_of([reason for reason in pair.reasons if reason not in everywhere])
    texts += [markdown.shown_row(pair)] if pair.alternatives else []
    difference = "--" if pair.difference is None else f"${words.signed(pair.difference)}$"
    half = "" if pair.half_width is None else rf" \ensuremath{{\pm}} {pair.half_width:.1f}"
    return f"{words.published(pair.score.acc)} ({difference}{half}){_mark(notes, texts)}"


# -- the parts of a table ---------------------------------------------------------------------------------------------


def _table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], caption: str, label: str, below: Sequence[str]
) -> str:
    """One table, or several where one page does not hold all rows; what stands below comes after the last."""
    many = max(1, ROWS // max(1, -(-len(columns) // COLUMNS)))
    parts = [rows[start : start + many] for start in range(0, len(rows), many)] or [rows]
    tables = []
    for number, part in enumerate(parts):
        again = number > 0
        under = [line for line in below if line] if number == len(parts) - 1 else []
        head = [rf"  \caption{{Table~\ref{{tab:{label}}}, continued.}}"]
        head = head if again else [rf"  \caption{{{caption}}}", rf"  \label{{tab:{label}}}"]
        tables.append(_float(head, "\n  \\par\\medskip\n".join(_blocks(columns, part)), under))
    return "\n\n".join(tables)


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for start in range(0, len(columns), COLUMNS):
        some = columns[start : start + COLUMNS]
        lines = [rf"  \begin{{tabular}}{{l{'r' * len(some)}}}", r"    \toprule"]
        lines.append(f"    {' & '.join(['method', *(escape(column.short) for column in some)])} \\\\")
        lines.append(r"    \midrule")
        lines += [f"    {' & '.join([row[0], *row[1 + start : 1 + start + COLUMNS]])} \\\\" for row in rows]
        yield "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}"])


def _float(head: Sequence[str], body: str, below: Sequence[str]) -> str:
    under = "\n".join(f"  {line}\\par" for line in below)
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"  \centering\small",
            *head,
            r"  \smallskip",
            body,
            *([r"  \par\smallskip\raggedright\footnotesize", under] if under else []),
            r"\end{table}",
        ]
    )


def _mark(notes: Footnotes, texts: Sequence[str]) -> str:
    mark = notes.mark(texts).strip(" []").replace(" ", "")
    return rf"\textsuperscript{{{mark}}}" if mark else ""


def _listed(notes: Footnotes) -> Iterator[str]:
    return (rf"\textsuperscript{{{letter}}} {_prose(text)}" for letter, text in notes)


def _prose(text: str) -> str:
    """Escaped; no line begins with a percent sign."""
    return escape(text.replace(" %", "\N{NO-BREAK SPACE}%"))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


# -- citations --------------------------------------------------------------------------------------------------------


def _cite(keys: Iterable[str | None], citable: Collection[str]) -> str:
    """Each citable key once, in order; a plug-in may name others."""
    found = [key for key in dict.fromkeys(keys) if key is not None and key in citable]
    return rf"~\cite{{{','.join(found)}}}" if found else ""


def _own(report: Report) -> dict[str, Citation]:
    """The citations that compared tables bring themselves. DataError where two mean different papers by one key."""
    own: dict[str, Citation] = {}
    for comparison in (comparison for found in report.comparisons for comparison in found):
        for key, cited in comparison.source.citations.items():
            if own.setdefault(key, cited) != cited:
                raise DataError(f"compared tables mean different papers by the citation '{key}'; rename one of them")
    return own


def _of_row(grid: Grid, row: str, comparisons: Sequence[Comparison]) -> list[str | None]:
    """The papers behind a method: of its components, and the one a source of scores names for it."""
    cells = [entry.cell for (name, _), entry in grid.entries.items() if name == row]
    named = [pair.score.method_cite for c in comparisons for (name, _), pair in c.partners.items() if name == row]
    mixup = [MIXUP for cell in cells if at(cell.settings, "method.mixup")]
    return [*_keys(cells, OF_METHODS), *mixup, *named]


def _keys(cells: Iterable[Cell], families: Sequence[str]) -> list[str | None]:
    """Citation keys of the cells' components of these families."""
    found: list[str | None] = []
    for cell in cells:
        for slot, mapping in component_mappings(cell.settings):
            if slot.family in families:
                try:
                    found.append(registry.get(slot.family, str(mapping.get(slot.name_key))).cite)
                except NoisybenchError:  # of a plug-in that is not loaded
                    continue
    return found
