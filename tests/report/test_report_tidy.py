"""CSV and JSON: one row a cell, every run, nothing a spreadsheet would execute."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from studies import cell, plan, record, store, study

from noisybench.report import report


def test_one_csv_row_for_each_cell_and_variant(tmp_path: Path) -> None:
    cells = [cell("Mixup", 0.4, variant=f"Mixup[alpha={a}]", choose="best") for a in (1, 8)]
    records = [record(c, s, v) for c, v in zip(cells, (70.0, 80.0), strict=True) for s in (0, 1, 2)]
    made = report(store(tmp_path / "s", plan(cells), records), compare=["foret2021_table4"])
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert [(r["method"], r["variant"], r["shown"], r["mean"]) for r in rows] == [
        ("Mixup", "Mixup[alpha=1]", "False", "70.0"),
        ("Mixup", "Mixup[alpha=8]", "True", "80.0"),
    ]
    assert [r["published:foret2021_table4"] for r in rows] == ["", "90.0"]
    assert [r["difference:foret2021_table4"] for r in rows] == ["", "-10.0"]
    assert "not stated: flip convention" in rows[1]["reasons:foret2021_table4"]


def test_json_has_every_run_and_every_reason(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4)
    records = [record(sgd, 0, 80.0), record(sgd, 1, "nan", status="diverged")]
    made = report(store(tmp_path / "s", plan([sgd]), records), compare=["foret2021_table4"])
    data = json.loads(made.to_json())
    assert data["counts"] == {
        "planned": 3,
        "finished": 1,
        "diverged": 1,
        "failed": 0,
        "missing": 1,
        "blocked": 0,
        "damaged": 0,
        "left out": 0,
    }
    (row,) = data["cells"]
    assert [(run["run_id"], run["status"], run["accuracy_last"]) for run in data["runs"]] == [
        ("sgd-0.4-s0", "finished", 80.0),
        ("sgd-0.4-s1", "diverged", None),
        ("sgd-0.4-s2", "missing", None),
    ]
    assert row["published:foret2021_table4"] == 68.8
    assert row["verdict:foret2021_table4"] is None
    assert {"method": "SAM", "noise": "symmetric", "rate": 0.4, "published": 93.4}.items() <= data["alone"][-2].items()


def test_cells_and_runs_are_flat_and_alike(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    data = json.loads(report(folder).to_json())
    for rows in (data["cells"], data["runs"]):
        assert len({tuple(row) for row in rows}) == 1, "one set of keys"
        assert not any(isinstance(value, dict) for row in rows for value in row.values())
    keys = ("dataset", "model", "noise", "variant")
    cells = {tuple(row[key] for key in keys) for row in data["cells"]}
    assert {tuple(row[key] for key in keys) for row in data["runs"]} == cells, "runs join cells by these"


def test_all_rules_stand_side_by_side(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    row = json.loads(report(folder).to_json())["cells"][0]
    assert [row[f"mean_{rule}"] for rule in ("last", "last10", "validation", "best")] == [80.0, 81.0, None, 82.0]


def test_formulas_do_not_run(tmp_path: Path) -> None:
    names = ("=1+1", "+x", "-x", "@x", 'Ünïcode, "q"')
    cells = [cell(name, 0.4, variant=f"v{i}", seeds=(0,), choose="best") for i, name in enumerate(names)]
    text = report(store(tmp_path / "s", plan(cells), [])).to_csv()
    assert [row["method"] for row in csv.DictReader(io.StringIO(text))] == [
        "'=1+1",
        "'+x",
        "'-x",
        "'@x",
        'Ünïcode, "q"',
    ]
    negative = list(
        csv.DictReader(
            io.StringIO(
                report(
                    store(tmp_path / "t", plan([cell("SGD", 0.4)]), [record(cell("SGD", 0.4), 0, 60.0)]),
                    compare=["foret2021_table4"],
                ).to_csv()
            )
        )
    )
    assert float(negative[0]["difference:foret2021_table4"]) < 0  # a number stays a number
