"""CSV that runs nothing, and one row a run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import cell, plan, record, store

from noisybench.report import report
from noisybench.report.spreadsheet import csv_of


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\n=1", "\x00=1", "|cmd", "%x", "＝1", "\xa0=1"]
)
def test_what_a_spreadsheet_would_run_gets_a_quotation_mark(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of([{"name": text}])))
    assert row["name"].startswith("'")


def test_numbers_lists_and_harmless_text_stay() -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of([{"a": -1.5, "b": ["x", "y"], "c": "Müller & Co = 1", "d": None}])))
    assert row == {"a": "-1.5", "b": "x; y", "c": "Müller & Co = 1", "d": ""}


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_text_begins_a_formula_and_none_is_lost(text: str) -> None:
    out = csv_of([{"name": text}])
    (row,) = list(csv.reader(io.StringIO(out, newline="")))[1:] or [[""]]
    start = "".join(row).lstrip()
    assert not start or start[0] not in "=+-@|%＝＋－＠"
    kept = "".join(c for c in text if (c >= " " and c != "\x7f") or c in "\n\t")
    assert "".join(row).removeprefix("'") in (kept, kept.removeprefix("'"))


def test_one_row_for_each_planned_run(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4, marks=["rate-aware"])
    records = [record(sgd, 0, 80.0), record(sgd, 1, "nan", status="diverged")]
    records[0]["provenance"] |= {"seconds": {"total": 12.5}, "device": "cpu"}
    made = report(store(tmp_path / "s", plan([sgd]), records))
    rows = list(csv.DictReader(io.StringIO(made.to_runs_csv())))
    assert [(r["seed"], r["status"], r["accuracy_last"], r["accuracy_best"]) for r in rows] == [
        ("0", "finished", "80.0", "82.0"),
        ("1", "diverged", "", ""),
        ("2", "missing", "", ""),
    ]
    assert {
        "suite": "example",
        "dataset": "cifar10",
        "method": "SGD",
        "rate": "0.4",
        "epochs": "120",
        "seconds": "12.5",
        "device": "cpu",
        "precision": "fp32",
        "data_sha256": "f" * 64,
        "marks": "rate-aware",
    }.items() <= rows[0].items()
