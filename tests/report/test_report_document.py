"""The report as a whole: pure, atomic, fast, and the same in all its forms."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studies import cell, plan, record, store, study

from noisybench.errors import InputError, StoreError
from noisybench.report import report


def test_same_files_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    first, whole, records = study(tmp_path / "a", lambda m, r, s: 80.0 + 7.3 * r + s / 3, rates=(0.2, 0.4))
    whole["report"]["compare"] = ["foret2021_table4", "arazo2019"]
    store(first, whole, records)
    second = store(tmp_path / "b" / "elsewhere", whole, records[::-1])
    for one, two in zip(report(first).write(tmp_path / "x"), report(second).write(tmp_path / "y"), strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.name == two.name


def test_write_leaves_its_files_and_nothing_else(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    paths = report(folder).write(tmp_path / "out" / "deep")
    names = ["report.md", "report.csv", "runs.csv", "report.json"]
    assert sorted(p.name for p in (tmp_path / "out" / "deep").iterdir()) == sorted(names)
    assert [p.name for p in paths] == names
    assert paths[0].read_text(encoding="utf-8") == report(folder).to_markdown()


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    out = tmp_path / "out"
    report(folder).write(out)
    before = (out / "report.md").read_bytes()

    def refuse(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StoreError, match="disk full"):
        report(folder).write(out)
    assert (out / "report.md").read_bytes() == before
    assert len(list(out.iterdir())) == 4


def test_the_title_names_suite_rule_and_recipe(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    assert report(folder).title == "example (version 1): test accuracy in %, last epoch, common recipe"
    best = report(folder, accuracy="best").title
    assert best == "example (version 1): test accuracy in %, best epoch on the test set (an oracle), common recipe"


def test_the_arguments_replace_what_the_plan_says(tmp_path: Path) -> None:
    folder, whole, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    whole["report"] = {"accuracy": "best", "compare": ["foret2021_table4"]}
    store(folder, whole, [])
    assert report(folder).rule == "best"
    assert report(folder, accuracy="last").rule == "last"
    assert [c.source.name for c in report(folder).comparisons[0]] == ["foret2021_table4"]
    assert report(folder, compare=[]).comparisons == ((),)
    assert [c.source.name for c in report(folder, compare=["idn", "idn"]).comparisons[0]] == ["idn"]
    with pytest.raises(InputError, match="no selection rule"):
        report(folder, accuracy="median")
    with pytest.raises(InputError, match="no published table 'foret'"):
        report(folder, compare=["foret"])


@pytest.mark.parametrize("kind", ["smoke", "synthetic"])
def test_smoke_and_synthetic_say_so_and_show_no_published_score(tmp_path: Path, kind: str) -> None:
    sgd = cell("SGD", 0.4)
    whole = plan([sgd], report={"accuracy": "last", "compare": ["foret2021_table4"]}, **{kind: True})
    made = report(store(tmp_path / "s", whole, [record(sgd, s, 60.0) for s in (0, 1, 2)]))
    for text in (made.to_markdown(), made.to_text(), made.to_csv(), made.to_json()):
        assert "foret2021_table4" not in text
        assert "68.8" not in text
    say = {"smoke": "Smoke run", "synthetic": "Synthetic data"}[kind]
    for text in (made.to_markdown(), made.to_text()):
        assert say in text
        assert "No published score is shown." in " ".join(text.split())
    assert made.title.startswith("smoke run of") == (kind == "smoke")


def test_forms_agree(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + 2 * s, rates=(0.4,))
    made = report(folder)
    assert "82.00 ± 4.97" in made.to_markdown()
    assert "82.00 ± 4.97" in made.to_text()
    data = json.loads(made.to_json())
    assert [c["mean"] for c in data["cells"]] == [82.0, 82.0]
    assert ",82.0,4.968" in made.to_csv()


def test_a_thousand_records_take_less_than_two_seconds(tmp_path: Path) -> None:
    cells = [cell(f"method {m}", rate / 100, seeds=tuple(range(10))) for m in range(10) for rate in range(10, 60, 5)]
    matrix = [[0.1] * 10] * 10
    records = [record(c, s, 80.0 + s, noise__transition=matrix) for c in cells for s in range(10)]
    folder = store(tmp_path / "s", plan(cells, report={"accuracy": "last", "compare": ["epssoftmax2024"]}), records)
    assert len(records) == 1000
    started = time.process_time()
    made = report(folder)
    for form in (made.to_markdown, made.to_text, made.to_csv, made.to_json):
        form()
    assert time.process_time() - started < 2


def test_reading_records_needs_no_torch(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    code = f"import sys; from noisybench.report import report; report({str(folder)!r}).to_markdown(); "
    code += "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
