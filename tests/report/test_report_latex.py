"""LaTeX: the tables, their citations, and that nothing in a name acts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from studies import cell, plan, record, store, study

from noisybench.errors import DataError
from noisybench.report import report
from noisybench.report.document import Report
from noisybench.report.latex import ROWS

NAMES = ["50 % a_b & c", r"\input{/etc/passwd}", "Müller ϵ", "[2cm]", "*", "$x^2$ # ~", "}{", "雪 <script>"]


def awkward(folder: Path) -> Report:
    """A report whose names are full of what TeX acts on, with published scores and seven columns."""
    rates = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    cells = [cell(name, rate) for rate in rates for name in NAMES]
    cells += [cell("SAM", r, settings={"training__optimizer": {"name": "sam", "rho": 0.1, "base": {}}}) for r in rates]
    for number, c in enumerate(cells):
        c["runs"] = {seed: f"run-{number}-{seed}" for seed in c["runs"]}
    records = [record(c, s, 70.0 + s + n % 9) for n, c in enumerate(cells) for s in (0, 1, 2)]
    whole = plan(cells, description="100 % _plain_", suite="a_b", report={"accuracy": "last", "compare": ["idn"]})
    return report(store(folder, whole, records), compare=["foret2021_table4"])


def rows_of(text: str) -> list[tuple[int, list[str]]]:
    """(number of columns, rows) of every tabular."""
    out = []
    for found in re.finditer(r"\\begin\{tabular\}\{(l r*|lr*)\}(.*?)\\end\{tabular\}", text, re.S):
        lines = [line.strip() for line in found[2].split("\n") if line.strip().endswith(r"\\")]
        out.append((len(found[1]), lines))
    return out


def check(text: str) -> None:
    """ASCII, braces and environments nest, every row has its columns, and only commands of ours occur."""
    assert text.isascii()
    depth = 0
    for c in re.sub(r"\\[{}\\]", "", text):
        depth += {"{": 1, "}": -1}.get(c, 0)
        assert depth >= 0
    assert depth == 0
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    for columns, lines in rows_of(text):
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) == columns - 1, line
    body = "\n".join(line for line in text.split("\n") if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%#]", body)
    assert not re.search(r"(?<!\\)_", re.sub(r"\\cite\{[^}]*\}", "", body).replace("report-tables", ""))
    assert not re.search(r"\\\\\s*[\[*]", body)


def test_tables_hold_what_the_report_says(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + 2 * s + 9 * (m == "SAM"), rates=(0.2, 0.4))
    made = report(folder, compare=["foret2021_table4"])
    text = made.to_latex()["report-tables.tex"]
    assert r"\textbf{91.00 \ensuremath{\pm} " in text
    assert r"method & symmetric 20 \% & symmetric 40 \% \\" in text
    assert r"\toprule" in text
    assert r"\bottomrule" in text
    assert r"\cite{foret2021sam}" in text
    assert r"95.1 ($-4.1$)" in text  # Foret et al. 2021, Table 4: SAM at 20 %
    assert "example (version 1): test accuracy in \\%, last epoch, common recipe." in text
    check(text)


def test_whatever_the_names_the_tables_stay_whole(tmp_path: Path) -> None:
    made = awkward(tmp_path / "s")
    files = made.to_latex()
    check(files["report-tables.tex"])
    check(files["report.tex"])
    assert [columns for columns, _ in rows_of(files["report-tables.tex"])][:2] == [6, 3]
    assert r"\textbackslash{}input\textbraceleft{}/etc/passwd" in files["report-tables.tex"]
    assert r"\input{/etc" not in files["report-tables.tex"]
    labels = re.findall(r"\\label\{([^}]*)\}", files["report-tables.tex"])
    assert len(labels) == len(set(labels)) == 2


def test_each_name_in_a_caption_has_its_own_papers(tmp_path: Path) -> None:
    text = awkward(tmp_path / "s").to_latex()["report-tables.tex"]
    named = re.search(r"cifar10~\\cite\{(\w+)\}, resnet34, symmetric noise~\\cite\{(\w+)\}\.", text)
    assert named is not None
    assert named.groups() == ("krizhevsky2009cifar", "vanrooyen2015unhinged")


def test_a_table_longer_than_a_page_is_continued(tmp_path: Path) -> None:
    methods = tuple(f"M{i:02}" for i in range(ROWS + 3))
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s, methods=methods, rates=(0.4,))
    text = report(folder).to_latex()["report-tables.tex"]
    assert [len(lines) - 1 for _, lines in rows_of(text)] == [ROWS, 3]
    assert text.count(r"\caption{Table~\ref{tab:cifar10-resnet34}, continued.}") == 1
    assert text.count(r"\label{") == 1
    assert text.index(r"\end{table}") < text.index("runs planned"), "notes stand below the last part"
    check(text)


def test_methods_cite_their_papers_and_the_bib_has_exactly_these(tmp_path: Path) -> None:
    files = awkward(tmp_path / "s").to_latex()
    cited = {k for found in re.findall(r"\\cite\{([^}]*)\}", files["report-tables.tex"]) for k in found.split(",")}
    assert {"foret2021sam", "krizhevsky2009cifar"} <= cited
    assert re.search(r"^    SAM~\\cite\{foret2021sam\} &", files["report-tables.tex"], re.M)
    assert set(re.findall(r"^@\w+\{(\w+),", files["report.bib"], re.M)) == cited


OWN = """
schema: 1
title: My table
sources: {paper: {kind: primary_text, url: "https://example.org", read_as: own runs}}
notes: []
citations:
  - {key: me2026, title: Mine, authors: [Me], venue: here, year: 2026, arxiv: null, checked: true}
  - {key: you2025, title: Yours, authors: [You], venue: there, year: 2025, arxiv: null, checked: true}
scores:
  - {method: SGD, dataset: cifar10, noise: symmetric, rate: 0.4, acc: 77.0, metric: test_acc, cite: me2026,
     method_cite: you2025, table: Table 1, verified: true, seen_in: paper}
"""


def test_papers_that_a_table_of_ones_own_brings_are_cited(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s, rates=(0.4,))
    (tmp_path / "mine.yaml").write_text(OWN)
    files = report(folder, compare=[str(tmp_path / "mine.yaml"), "foret2021_table4"]).to_latex()
    tables = files["report-tables.tex"]
    assert r"\caption{My table~\cite{me2026}: published accuracy" in tables
    assert re.search(r"^    SGD~\\cite\{[^}]*you2025\} &", tables, re.M)
    check(tables)
    cited = {k for found in re.findall(r"\\cite\{([^}]*)\}", tables) for k in found.split(",")}
    assert {"me2026", "you2025", "foret2021sam"} <= cited
    assert set(re.findall(r"^@\w+\{(\w+),", files["report.bib"], re.M)) == cited
    assert "title = {{Mine}}" in files["report.bib"]


def test_two_tables_may_not_mean_two_papers_by_one_key(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s, rates=(0.4,))
    tables = [tmp_path / "mine.yaml", tmp_path / "yours.yaml"]
    for path in tables:
        path.write_text(OWN)
    report(folder, compare=list(map(str, tables))).to_latex()
    tables[1].write_text(OWN.replace("title: Mine", "title: Another"))
    with pytest.raises(DataError, match="different papers by the citation 'me2026'"):
        report(folder, compare=list(map(str, tables))).to_latex()


def test_the_form_writes_three_files(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    paths = report(folder).write(tmp_path / "out", ["tex"])
    assert [p.name for p in paths] == ["report.tex", "report-tables.tex", "report.bib"]
    assert all(p.read_bytes() for p in paths)


def test_smoke_says_so(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4)
    folder = store(tmp_path / "s", plan([sgd], smoke=True), [record(sgd, 0, 60.0)])
    assert "Smoke run" in report(folder).to_latex()["report-tables.tex"]


@pytest.mark.slow
def test_it_compiles(tmp_path: Path) -> None:
    """Strange names, published scores, two blocks, two pages of one table; TeX and BibTeX have nothing to warn of."""
    engine = next((name for name in ("pdflatex", "tectonic") if shutil.which(name)), None)
    if engine is None or (engine == "pdflatex" and not shutil.which("bibtex")):
        pytest.skip("no TeX on PATH: neither pdflatex with bibtex (Debian: texlive-latex-recommended) nor tectonic")
    awkward(tmp_path / "s").write(tmp_path, ["tex"])
    methods = tuple(f"Method {i}" for i in range(ROWS + 30))
    folder, _, _ = study(tmp_path / "long", lambda m, r, s: 80.0 + s, methods=methods, rates=(0.4,))
    report(folder).write(tmp_path / "l", ["tex"])
    for place in (tmp_path, tmp_path / "l"):
        log = compiled(place, engine)
        assert (place / "report.pdf").read_bytes().startswith(b"%PDF")
        for bad in ("Overfull", "undefined", "too large", "multiply defined", "Missing character", "Warning--"):
            assert bad not in log, bad


def compiled(folder: Path, engine: str) -> str:
    """Compile ``report.tex`` with its bibliography; what the last passes said."""
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    commands = [["tectonic", "--keep-logs", "report.tex"]] if engine == "tectonic" else [latex]
    if engine != "tectonic":
        commands += [["bibtex", "report"]] if r"\bibliography" in (folder / "report.tex").read_text() else []
        commands += [latex, latex]
    said = []
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        said.append(done.stdout if command[0] == "bibtex" else "")
    return "\n".join([*said, (folder / "report.log").read_text(errors="replace")])
