"""Pictures of the report: same records, same bytes; text is text; strange names do no harm."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from studies import cell, plan, record, store

from noisybench.report import report
from noisybench.report.figures import MOST_TABLES, Picture, pictures
from noisybench.report.figures.accuracy import groups
from noisybench.report.figures.cost import plain
from noisybench.report.figures.curves import _curves
from noisybench.report.figures.style import MOST_METHODS, choose_methods, name, pen, spread
from noisybench.report.figures.transition import mean_matrix
from noisybench.store import write_arrays

HOSTILE = ("SGD", "<script>alert(1)</script>", "=cmd", "Müller_ß $x^2$ & Co", "_hidden_", "N" * 90)
MATRIX = [[0.75, 0.25], [0.5, 0.5]]


def accuracy(method: str, rate: float, seed: int) -> float:
    return round(95 - 20 * rate + len(method) / 50 + seed / 4, 2)


def study(folder: Path, methods: tuple[str, ...] = ("SGD", "SAM"), rates: tuple[float, ...] = (0.0, 0.4)) -> Path:
    """Records with curves, matrices, confusions and seconds."""
    cells = [cell(method, rate) for rate in rates for method in methods]
    for i, planned in enumerate(cells):
        planned["runs"] = {seed: f"run-{i}-{seed}" for seed in planned["runs"]}
    records = []
    for planned in cells:
        for seed in (0, 1, 2):
            rate = planned["settings"]["noise"]["rate"]
            home = folder / planned["runs"][str(seed)]
            home.mkdir(parents=True)
            epochs = np.arange(1, 6, dtype=float)
            kept = {"epoch": epochs, "test_accuracy": 80 + epochs + seed, "memorised": 10 * epochs, "corrected": epochs}
            content = write_arrays(home / "curves.npz", kept)
            made = record(
                planned,
                seed,
                accuracy(planned["method"], rate, seed),
                noise__transition=MATRIX if rate else [[1, 0], [0, 1]],
                final__confusion=[[40 + seed, 10 - seed], [5, 45]],
                curves_sha256=content,
            )
            made["provenance"] |= {"seconds": {"train": 10.0 + len(planned["method"]), "total": 20.0}, "device": "cpu"}
            records.append(made)
    return store(folder, plan(cells), records)


def drawn(folder: Path) -> dict[str, Picture]:
    return {picture.name: picture for found in pictures(report(folder)) for picture in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("study") / "runs", HOSTILE)


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Picture]:
    return drawn(folder)


@pytest.fixture(scope="module")
def svgs(found: dict[str, Picture]) -> dict[str, str]:
    return {key: picture.svg() for key, picture in found.items()}


def test_every_picture_the_records_allow(found: dict[str, Picture]) -> None:
    curves = "curves-symmetric-0-4"
    assert list(found) == ["accuracy", "seeds", curves, "transition", "classes", "confusion", "cost"]


def test_only_what_was_recorded_is_drawn(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.4)]
    folder = store(tmp_path, plan(cells), [record(cells[0], seed, 80.0 + seed) for seed in (0, 1, 2)])
    assert list(drawn(folder)) == ["seeds", "cost"]
    assert drawn(store(tmp_path / "empty", plan(cells), [])) == {}


def test_svg_is_well_formed_with_text_as_text(found: dict[str, Picture], svgs: dict[str, str]) -> None:
    for key, picture in found.items():
        text = svgs[key]
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg")
        words = " ".join(root.itertext())
        assert picture.title in words, "a title for those who do not see it"
        assert not re.search(r"<script|<dc:date|matplotlib", text, re.IGNORECASE)
    shown = " ".join(ElementTree.fromstring(svgs["accuracy"]).itertext())
    for word in ("<script>alert(1)</script>", "=cmd", "Müller_ß $x^2$ & Co", "_hidden_", "noise rate, %"):
        assert word in shown


def test_same_records_same_bytes(found: dict[str, Picture], svgs: dict[str, str], folder: Path) -> None:
    again = drawn(folder)
    for key in ("accuracy", "curves-symmetric-0-4"):
        assert svgs[key] == again[key].svg()
    image = found["cost"].png(40)
    assert image == again["cost"].png(40)
    assert image.startswith(b"\x89PNG")


def test_identifiers_are_each_picture_s_own(svgs: dict[str, str]) -> None:
    seen: set[str] = set()
    for text in svgs.values():
        own = re.findall(r' id="([^"]+)"', text)
        assert len(own) == len(set(own))
        assert not seen & set(own)
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) <= set(own)
        seen |= set(own)


def test_colours_follow_the_page_or_the_viewer(found: dict[str, Picture], svgs: dict[str, str]) -> None:
    inline, alone = found["cost"].inline(), svgs["cost"]
    assert "var(--ink)" in inline
    assert "#1b1c1d" not in inline
    assert "var(--" not in alone, "viewers other than browsers know no variables"
    assert "prefers-color-scheme: dark" in alone


def test_methods_differ_without_colour() -> None:
    looks = [(pen(i).marker, str(pen(i).line)) for i in range(MOST_METHODS)]
    assert len(set(looks)) == MOST_METHODS


def test_curves_are_those_the_record_names(tmp_path: Path) -> None:
    folder = study(tmp_path / "runs")
    grid = report(folder).grids[0]
    table = _curves(grid, grid.columns[1], "SAM")["test_accuracy"]
    assert table.tolist() == [[81, 82, 83, 84, 85], [82, 83, 84, 85, 86], [83, 84, 85, 86, 87]]
    entry = grid.entry("SAM", grid.columns[1])
    assert entry is not None
    home = entry.cell.runs[0].home
    assert home is not None
    write_arrays(home / "curves.npz", {"test_accuracy": np.zeros(5)})
    assert _curves(grid, grid.columns[1], "SAM")["test_accuracy"].tolist() == table[1:].tolist()


def test_matrix_is_the_mean_over_seeds(folder: Path) -> None:
    grid = report(folder).grids[0]
    matrix, seeds = mean_matrix(grid, grid.columns[1])
    assert matrix is not None
    assert (matrix.tolist(), seeds) == (MATRIX, 3)


def test_noises_that_differ_in_more_than_the_rate_are_no_line(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.2), cell("SGD", 0.4), cell("SGD", 0.6, settings={"noise__flip": "inclusive"})]
    grid = report(store(tmp_path, plan(cells), [])).grids[0]
    assert [[column.rate for column in columns] for columns in groups(grid)] == [[0.2, 0.4]]


def test_many_methods_the_highest_and_the_first_are_drawn(tmp_path: Path) -> None:
    cells = [cell(f"M{i:02}", 0.4) for i in range(20)]
    folder = store(tmp_path, plan(cells), [record(c, 0, 50.0 + i) for i, c in enumerate(cells)])
    pens = choose_methods(report(folder).grids[0])
    assert list(pens.methods) == ["M00", *(f"M{i:02}" for i in range(20 - MOST_METHODS + 1, 20))]
    assert pens.left_out == 20 - MOST_METHODS
    assert f"{pens.left_out} more are in the table" in pens.note


def test_many_tables_the_first_are_drawn(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.4, dataset=f"d{i}") for i in range(MOST_TABLES + 2)]
    for i, planned in enumerate(cells):
        planned["runs"] = {"0": f"run-{i}"}
    folder = store(tmp_path, plan(cells), [record(c, 0, 50.0) for c in cells])
    found = pictures(report(folder))
    assert len(found) == MOST_TABLES
    assert [picture.name for picture in found[1]] == ["2-seeds", "2-cost"]


def test_names_and_numbers() -> None:
    assert name("a\nb\x00c") == "a b c"
    assert name("x" * 40) == "x" * 29 + "…"
    assert [plain(value) for value in (0.5, 20_000, 1_500_000)] == ["0.5", "20 k", "1.5 M"]
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2]
