"""The table against the baseline, in every form."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store

from noisybench.errors import InputError
from noisybench.report import report
from noisybench.report.grid import make_grids
from noisybench.report.results import read_study

VALUES = {"SGD": (50.0, 51.0, 52.0), "SAM": (80.0, 82.0, 84.0), "GCE": (51.0, 52.0, 52.0)}
WIDTH = "2.11"
"""Dunnett's 3.31 for two comparisons and four degrees (between 3.87 at three and 3.03 at five), times sqrt(22/54)."""


def made(folder: Path, values: dict[str, Sequence[float]] = VALUES, **more: Any) -> Path:
    """One column, any number of seeds."""
    cells = [cell(m, 0.4, seeds=range(len(row))) for m, row in values.items()]
    records = [record(c, s, v) for c in cells for s, v in enumerate(values[c["method"]])]
    return store(folder, plan(cells, **more), records)


def section(text: str) -> list[list[str]]:
    """Rows of the Markdown table against the baseline."""
    lines = text.split("### Against ")[1].split("\n\n")[2].splitlines()
    return [[part.strip() for part in line.split("|")[1:-1]] for line in lines[2:]]


def test_the_first_method_is_the_baseline_unless_one_is_named(tmp_path: Path) -> None:
    text = report(made(tmp_path / "s")).to_markdown()
    assert "### Against SGD" in text
    assert section(text) == [["SAM", f"**+31.00 ± {WIDTH}**"], ["GCE", f"+0.67 ± {WIDTH}"]]
    text = report(made(tmp_path / "s"), baseline="SAM").to_markdown()
    assert section(text) == [["SGD", f"**-31.00 ± {WIDTH}**"], ["GCE", f"**-30.33 ± {WIDTH}**"]]


def test_the_plan_names_the_baseline_and_the_argument_replaces_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "s", report={"accuracy": "last", "compare": [], "baseline": "GCE"})
    assert "### Against GCE" in report(folder).to_markdown()
    assert "### Against SAM" in report(folder, baseline="SAM").to_markdown()
    with pytest.raises(InputError, match=r"no method 'SMA' to compare with; did you mean 'SAM'\?; there are: SGD, SAM"):
        report(folder, baseline="SMA")


def test_the_terminal_counts(tmp_path: Path) -> None:
    text = " ".join(report(made(tmp_path / "s")).to_text().split())
    assert "Methods above / not told apart from / below SGD (Dunnett, 95 %): symmetric 40 %: 1 / 1 / 0." in text
    assert "Smallest difference to the best that could be seen, column by column: 2.1 points." in text


def test_the_tables_of_other_programs_have_every_comparison(tmp_path: Path) -> None:
    rows = {row["method"]: row for row in json.loads(report(made(tmp_path / "s")).to_json())["cells"]}
    sam, sgd = rows["SAM"], rows["SGD"]
    error = math.sqrt(22 / 54)
    assert (sam["baseline"], sam["to_baseline"], sgd["to_baseline"]) == ("SGD", 31.0, None)
    assert sam["to_baseline_half_width"] == pytest.approx(3.31 * error, abs=0.01)
    assert (sgd["to_best"], sam["to_best"]) == (-31.0, pytest.approx(30.333333333))
    assert sam["to_best_half_width"] == sam["smallest_visible"] == sam["to_baseline_half_width"]
    assert sam["wilcoxon_p"] is None


def test_six_seeds_have_a_signed_rank_test_five_have_none(tmp_path: Path) -> None:
    five = {"SGD": (70.0, 71.0, 72.0, 70.0, 71.0), "SAM": (71.0, 72.5, 74.0, 72.5, 74.0)}
    assert "p = " not in report(made(tmp_path / "s", five)).to_markdown()
    six = {"SGD": (*five["SGD"], 70.0), "SAM": (*five["SAM"], 73.5)}
    text = report(made(tmp_path / "t", six)).to_markdown()
    assert "(p = 0.031)" in section(text)[0][1]
    assert "signed-rank test" in text


def test_one_seed_shows_no_comparison(tmp_path: Path) -> None:
    made_report = report(made(tmp_path / "s", {"SGD": (50.0,), "SAM": (80.0,)}))
    assert "Against" not in made_report.to_markdown()
    assert "told apart from / below" not in made_report.to_text()
    assert "could be seen" not in made_report.to_text()


def test_a_column_without_all_results_is_not_compared(tmp_path: Path) -> None:
    folder = made(tmp_path / "s")
    (folder / "gce-0.4-s2" / "record.json").unlink()
    assert "### Against" not in report(folder).to_markdown()


def test_a_baseline_that_diverged_compares_with_nobody(tmp_path: Path) -> None:
    folder = made(tmp_path / "s")
    bad = record(cell("SGD", 0.4), 0, "nan", status="diverged")
    (folder / "sgd-0.4-s0" / "record.json").write_text(json.dumps(bad))
    assert "### Against" not in report(folder).to_markdown()
    (grid,) = make_grids(read_study(folder), "last")
    assert set(grid.blocks["symmetric 0.4"].summaries) == {"SAM", "GCE"}


def test_a_large_spread_is_marked_and_has_its_own_interval(tmp_path: Path) -> None:
    """SAM's ten points are more than three times the median of one: 82 +- 4.30265 x 10 / sqrt 3."""
    values = {"SGD": (50.0, 51.0, 52.0), "SAM": (72.0, 82.0, 92.0), "GCE": (51.0, 52.0, 53.0)}
    text = report(made(tmp_path / "s", values)).to_markdown()
    assert "| **82.00 ± 24.84** [a] |" in text
    assert "- [a] its spread over seeds is more than three times the column's median: not pooled" in text
