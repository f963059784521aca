"""The order of the methods under every selection rule, and over many data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store

from noisybench.report import report

LAST = {"A": 90.0, "B": 85.0, "C": 80.0, "D": 75.0}
BEST = {"A": 91.0, "B": 86.0, "C": 95.0, "D": 76.0}


def made(folder: Path, rules: Mapping[str, Mapping[str, float]], **more: Any) -> Path:
    """Four methods, three seeds that differ by one point, accuracies under each rule."""
    cells = [cell(m, 0.4) for m in LAST]
    records = [
        record(c, s, 0.0, **{f"test_accuracy__{rule}": row[c["method"]] + s for rule, row in rules.items()})
        for c in cells
        for s in (0, 1, 2)
    ]
    return store(folder, plan(cells, **more), records)


def test_taus_and_who_moves(tmp_path: Path) -> None:
    """A B C D becomes C A B D: of six pairs two are turned round, (4 - 2) / 6."""
    folder = made(tmp_path / "s", {"last": LAST, "last10": LAST, "best": BEST})
    text = report(folder).to_markdown()
    assert "### Order under other selection rules" in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert lines["mean of the last 10 epochs"].split("|")[2].strip() == "1.00"
    assert lines["best epoch on the test set (an oracle)"].split("|")[2].strip() == "0.33"
    assert "epoch chosen on the noisy hold-out" not in lines
    assert "- best epoch on the test set (an oracle), symmetric 40 %: C 3 → 1, A 1 → 2, B 2 → 3" in text
    rows = {row["method"]: row for row in json.loads(report(folder).to_json())["cells"]}
    assert [rows[m]["rank_last"] for m in "ABCD"] == [1, 2, 3, 4]
    assert [rows[m]["rank_best"] for m in "ABCD"] == [2, 3, 1, 4]
    assert rows["A"]["rank_validation"] is None
    short = " ".join(report(folder).to_text().split())
    assert "mean of the last 10 epochs 1.00; best epoch on the test set (an oracle) 0.33." in short


def test_the_reports_own_rule_is_what_others_are_compared_with(tmp_path: Path) -> None:
    rules = {"last": LAST, "last10": BEST, "best": BEST, "validation": LAST}
    text = report(made(tmp_path / "s", rules), accuracy="best").to_markdown()
    assert "- last epoch, symmetric 40 %: C 1 → 3, A 2 → 1, B 3 → 2" in text
    assert "- epoch chosen on the noisy hold-out, symmetric 40 %: C 1 → 3" in text
    assert "- mean of the last 10" not in text


def test_when_nobody_moves_it_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "s", {"last": LAST, "last10": LAST, "best": LAST})
    assert "No method changes its place." in report(folder).to_markdown()


def test_a_column_without_all_results_is_not_ordered(tmp_path: Path) -> None:
    folder = made(tmp_path / "s", {"last": LAST, "last10": LAST, "best": BEST})
    (folder / "d-0.4-s2" / "record.json").unlink()
    assert "Order under other" not in report(folder).to_markdown()
    assert "Order under other" not in report(folder).to_text()


def many(folder: Path, datasets: int) -> Path:
    """A always above B above C, on so many data sets."""
    cells = []
    for i in range(datasets):
        for m in "ABC":
            planned = cell(m, 0.4, dataset=f"data{i}", seeds=(0,), settings={"dataset__name": f"data{i}"})
            planned["runs"] = {"0": f"{m.lower()}-{i}"}
            cells.append(planned)
    records = [record(c, 0, {"A": 90.0, "B": 80.0, "C": 70.0}[c["method"]]) for c in cells]
    return store(folder, plan(cells), records)


def test_mean_ranks_need_ten_data_sets(tmp_path: Path) -> None:
    """2.343 sqrt(3 x 4 / 60) = 1.05 ranks: neighbours are not told apart, A and C are."""
    made_report = report(many(tmp_path / "s", 10))
    found = json.loads(made_report.to_json())["overall"]
    assert found["ranks"] == {"A": 1.0, "B": 2.0, "C": 3.0}
    assert found["critical_difference"] == pytest.approx(2.343 * 0.2**0.5, abs=1e-3)
    assert found["groups"] == [["A", "B"], ["B", "C"]]
    text = made_report.to_markdown()
    assert "## Over all data sets" in text
    assert "Not told apart: A, B. Not told apart: B, C." in text
    fewer = report(many(tmp_path / "t", 9))
    assert json.loads(fewer.to_json())["overall"] is None
    assert "Over all data sets" not in fewer.to_markdown()
