"""The text at the end of a run: narrow enough, and it ends with an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies import cell, plan, record, store

from noisybench.report import report

METHODS = ("SGD", "SAM", "Mixup", "GCE", "SCE", "Bootstrap + SAM")


def quickstart(folder: Path, **more: Any) -> Path:
    """Six methods, four rates, three seeds; SGD loses 60 points for each unit of the rate, the others 10."""
    loss: dict[str, dict[str, Any]] = {m: {"method__loss": {"name": m.lower()}} for m in METHODS if m != "SGD"}
    cells = [cell(m, r, settings=loss.get(m, {}), **more) for r in (0.0, 0.2, 0.4, 0.6) for m in METHODS]
    records = []
    for c in cells:
        slope = 60 if c["method"] == "SGD" else 10
        for s in (0, 1, 2):
            records.append(record(c, s, 95.0 - slope * c["settings"]["noise"]["rate"] + 0.37 * s))
    return store(folder, plan(cells, suite="quickstart"), records)


def test_quickstart_fits_100_columns_in_one_table(tmp_path: Path) -> None:
    text = report(quickstart(tmp_path / "s")).to_text()
    assert max(map(len, text.splitlines())) <= 100
    heads = [line for line in text.splitlines() if line.startswith("method  ")]
    assert len(heads) == 2  # accuracy, and what is memorised
    assert heads[0].split("  ")[-1].strip() == "symmetric 60 %"


def test_it_ends_with_what_the_data_say(tmp_path: Path) -> None:
    text = " ".join(report(quickstart(tmp_path / "s")).to_text().split())
    assert "72 runs planned: 72 finished, 0 diverged, 0 failed, 0 missing, 0 blocked." in text
    assert "At symmetric 60 %, SGD ends at 59.4 % and has memorised 61 % of the wrong labels; SAM has 89.4 %" in text
    assert text.endswith("With 3 seeds the best method is nowhere told apart from all others.")


def test_a_wide_table_is_split_and_repeats_its_first_column(tmp_path: Path) -> None:
    text = report(quickstart(tmp_path / "s")).to_text(width=60)
    assert max(map(len, text.splitlines())) <= 60
    heads = [line.split("  ") for line in text.splitlines() if line.startswith("method  ")]
    assert len(heads) == 4
    shown = [word.strip() for head in heads[:2] for word in head[1:] if word.strip()]
    assert shown == ["symmetric 0 %", "symmetric 20 %", "symmetric 40 %", "symmetric 60 %"]


def test_marks_and_footnotes_are_explained(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.4, marks=["rate-aware"]), cell("SAM", 0.4), cell("GCE", 0.4)]
    values = {"SGD": (50.0, 51.0, 52.0), "SAM": (80.0, 82.0, 84.0), "GCE": (81.0, 82.0, 82.0)}
    records = [record(c, s, values[c["method"]][s]) for c in cells for s in (0, 1, 2)]
    text = report(store(tmp_path / "s", plan(cells), records)).to_text()
    rows = {line.split("  ")[0]: line for line in text.split("Wrong training labels")[0].splitlines()}
    assert rows["SAM"].endswith("82.00 ± 2.36*")
    assert rows["GCE"].endswith("81.67 ± 2.36~")
    assert rows["SGD"].endswith("51.00 ± 2.36  [a]")
    assert "[a] rate-aware: " in text
    assert "*: highest mean of its column. ~: not told apart from it" in " ".join(text.split())


def test_published_tables_are_summed_up(tmp_path: Path) -> None:
    text = report(quickstart(tmp_path / "s"), compare=["foret2021_table4"]).to_text()
    assert "Beside foret2021_table4: 12 pairs: 0 comparable" in text


def test_an_empty_store_is_readable(tmp_path: Path) -> None:
    text = report(store(tmp_path / "s", plan([cell("SGD", 0.4)]), [])).to_text()
    assert "missing" in text
    assert "3 runs planned: 0 finished, 0 diverged, 0 failed, 3 missing, 0 blocked." in text
