"""The table of detectors: means over seeds, one row a method and detector, none where nobody asked."""

from __future__ import annotations

from pathlib import Path

from studies import cell, plan, record, store

from noisybench.report import report


def test_detectors_have_a_row_each_in_every_form(tmp_path: Path) -> None:
    cells = [cell("CE", 0.4), cell("INCV", 0.4)]
    gmm = {"auc": 0.8, "kept_right": 70.0, "rate": 41.25}
    asked = [
        {"small_loss": {"auc": 0.9 + 0.01 * seed, "kept_right": 80.0, "rate": None}, "gmm": gmm} for seed in (0, 1, 2)
    ]
    records = [record(cells[0], s, 50.0 + s, detection=asked[s]) for s in (0, 1, 2)]
    records += [record(cells[1], s, 50.0 + s) for s in (0, 1, 2)]
    made = report(store(tmp_path / "s", plan(cells), records))
    markdown = made.to_markdown()
    assert "### Finding the wrong labels" in markdown
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in markdown.splitlines() if "small loss" in line]
    assert lines[-1] == ["CE", "small loss", "0.910 / 80.0 / –"]
    assert "0.800 / 70.0 / 41.2" in markdown
    for text in (made.to_text(), made.to_html()):
        assert "0.910 / 80.0 / –" in text


def test_nothing_is_said_where_nothing_was_asked(tmp_path: Path) -> None:
    cells = [cell("CE", 0.4)]
    made = report(store(tmp_path / "s", plan(cells), [record(cells[0], s, 50.0) for s in (0, 1, 2)]))
    assert "Finding the wrong labels" not in made.to_markdown() + made.to_text() + made.to_html()
