"""The Markdown report: what it says, and that it is well formed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store

from noisybench.report import report
from noisybench.report.markdown import escape


def made(folder: Path, cells: list[dict[str, Any]], records: list[dict[str, Any]], **more: Any) -> str:
    """The Markdown of a hand-made study."""
    return report(store(folder, plan(cells, **more), records)).to_markdown()


def row(text: str, method: str, nth: int = 0) -> list[str]:
    """Cells of the nth table row that begins with ``method``."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {method} ")]
    return [part.strip() for part in re.split(r"(?<!\\)\|", lines[nth])[1:-1]]


def test_mean_interval_and_marks(tmp_path: Path) -> None:
    """Variances 1, 4, 1/3: mean 16/9. Mean squares 37/9 of seeds and 11/18 of the residual, so Satterthwaite's degrees
    of freedom are (16/9)^2 / ((37/27)^2 / 2 + (11/27)^2 / 4) = 3.2235, and 3.0612 sqrt(16/27) = 2.3565 is half a width.
    """
    cells = [cell(m, 0.4) for m in ("SGD", "SAM", "GCE")]
    values = {"SGD": (50.0, 51.0, 52.0), "SAM": (80.0, 82.0, 84.0), "GCE": (81.0, 82.0, 82.0)}
    text = made(tmp_path / "s", cells, [record(c, s, values[c["method"]][s]) for c in cells for s in (0, 1, 2)])
    assert row(text, "method") == ["method", "symmetric 40 %"]
    assert row(text, "SGD") == ["SGD", "51.00 ± 2.36"]
    assert row(text, "SAM") == ["SAM", "**82.00 ± 2.36**"]
    assert row(text, "GCE") == ["GCE", "*81.67 ± 2.36*"]
    assert "9 runs planned: 9 finished, 0 diverged, 0 failed, 0 missing, 0 blocked." in text


def test_n_is_shown_where_it_is_less_than_planned(tmp_path: Path) -> None:
    """80 and 82: mean 81, s = sqrt 2, half width 12.7062 x sqrt 2 / sqrt 2 = 12.71."""
    sgd = cell("SGD", 0.4)
    text = made(tmp_path / "s", [sgd], [record(sgd, 0, 80.0), record(sgd, 1, 82.0)])
    assert row(text, "SGD") == ["SGD", "81.00 ± 12.71 (n = 2 of 3)"]
    text = made(tmp_path / "t", [sgd], [record(sgd, 0, 80.0)])
    assert row(text, "SGD") == ["SGD", "80.00 (n = 1 of 3)"]
    assert "3 runs planned: 1 finished, 0 diverged, 0 failed, 2 missing, 0 blocked." in text


def test_diverged_runs_are_counted_not_averaged_away(tmp_path: Path) -> None:
    sgd, sam = cell("SGD", 0.4), cell("SAM", 0.4)
    records = [record(sgd, 0, "nan", status="diverged"), record(sgd, 1, 80.0), record(sgd, 2, 80.0)]
    text = made(tmp_path / "s", [sgd, sam], records)
    assert row(text, "SGD") == ["SGD", "1/3 diverged"]
    assert "A method with a diverged run is not ranked." in text
    assert "No best is marked in a column where a run is without a result." in text


@pytest.mark.parametrize(
    ("status", "shown"),
    [(["failed"] * 3, "failed"), ([], "missing"), (["failed"], "1/3 failed, 2/3 missing")],
)
def test_a_cell_without_results_says_what_became_of_it(tmp_path: Path, status: list[str], shown: str) -> None:
    sgd = cell("SGD", 0.4)
    text = made(tmp_path / "s", [sgd], [record(sgd, i, "nan", status=s) for i, s in enumerate(status)])
    assert row(text, "SGD") == ["SGD", shown]


def test_damaged_and_unplanned_records_are_named(tmp_path: Path) -> None:
    sgd, gone = cell("SGD", 0.4), cell("Gone", 0.4, seeds=(0,))
    bad = record(sgd, 1, 80.0)
    bad["result_sha256"] = "0" * 64
    text = made(tmp_path / "s", [sgd], [record(sgd, 0, 80.0), bad, record(gone, 0, 1.0)])
    assert "1 finished, 0 diverged, 0 failed, 1 missing, 0 blocked, 1 damaged" in text
    assert "1 record is damaged and not used: sgd-0.4-s1 (result_sha256 does not match its result)." in text
    assert "1 record is not in the plan and not used: gone-0.4-s0." in text


def test_chosen_variants_are_named_and_an_oracle_is_footnoted(tmp_path: Path) -> None:
    cells = [cell("Mixup", 0.4, variant=f"Mixup[alpha={a}]", choose="best") for a in (1, 8)]
    records = [record(c, s, v) for c, v in zip(cells, (70.0, 80.0), strict=True) for s in (0, 1, 2)]
    text = made(tmp_path / "s", cells, records)
    assert row(text, "Mixup") == ["Mixup", "80.00 ± 0.01 [a]"]
    assert "- Mixup shows symmetric 40 %: alpha=8" in text
    assert "- [a] an oracle: the variant was chosen by its accuracy on the test set" in text
    text = made(tmp_path / "t", cells, records[1:])
    assert "chosen while runs of its variants are without a result" in text


def test_a_choice_on_the_hold_out_is_footnoted_as_such(tmp_path: Path) -> None:
    cells = [cell("Mixup", 0.4, variant=f"Mixup[alpha={a}]", choose="validation") for a in (1, 8)]
    text = made(
        tmp_path / "s", cells, [record(c, s, 70.0, holdout_accuracy={"last": 60.0}) for c in cells for s in (0, 1, 2)]
    )
    assert "- [a] the variant was chosen by its accuracy on the noisy hold-out" in text
    assert "oracle" not in text


def test_marks_of_a_cell_are_footnoted(tmp_path: Path) -> None:
    cells = [cell("SAM", 0.8, marks=["rate-aware", "oracle"])]
    text = made(tmp_path / "s", cells, [record(cells[0], s, 70.0) for s in (0, 1, 2)])
    assert row(text, "SAM") == ["SAM", "70.00 ± 0.01 [a, b]"]
    assert "- [a] rate-aware: a hyperparameter was set by the true noise rate or kind" in text
    assert "- [b] oracle: " in text


def test_memorised_and_corrected_where_labels_are_flipped(tmp_path: Path) -> None:
    """The records say 60, 61, 62 memorised and 20 corrected; nothing at rate 0."""
    cells = [cell("SGD", rate) for rate in (0.0, 0.4)]
    text = made(tmp_path / "s", cells, [record(c, s, 70.0) for c in cells for s in (0, 1, 2)])
    assert row(text, "method", 1) == ["method", "symmetric 40 %"]
    assert row(text, "SGD", 1) == ["SGD", "61.0 / 20.0"]
    text = made(tmp_path / "t", cells[:1], [record(cells[0], s, 70.0) for s in (0, 1, 2)])
    assert "Memorised" not in text


def test_published_scores_with_difference_and_footnotes(tmp_path: Path) -> None:
    cells = [cell(m, r, settings={"model__name": "resnet32_wide"}) for r in (0.4, 0.8) for m in ("SGD", "SAM")]
    records = [record(c, s, 70.0) for c in cells for s in (0, 1, 2)]
    text = made(tmp_path / "s", cells, records, report={"accuracy": "last", "compare": ["foret2021_table4"]})
    assert "### Beside foret2021_table4" in text
    assert row(text, "SGD", 2)[1:] == ["68.8 (+1.2) [a]", "26.2 (+43.8) [a]"]
    assert row(text, "SAM", 3)[1].startswith("93.4 (-23.4) [")
    assert "Of every pair: [" in text
    assert "architecture: the width of the published ResNet-32 is not stated" in text
    assert "epochs: 200 published, 120 here" in text
    assert "4 pairs: 0 comparable, 0 perhaps (nothing differs, but not all is known), 4 not comparable." in text
    assert row(text, "MentorMix") == ["MentorMix", "94.2", "81.0"]
    letters = re.findall(r"^- \[([a-z]+)\]", text, re.M)
    used = {letter for group in re.findall(r"\[([a-z, ]+)\]", text) for letter in group.split(", ")}
    assert used == set(letters)


def test_a_table_without_any_partner_says_so(tmp_path: Path) -> None:
    cells = [cell("Mine", 0.4)]
    more = {"report": {"accuracy": "last", "compare": ["foret2021_table4"]}}
    text = made(tmp_path / "s", cells, [record(cells[0], 0, 70.0)], **more)
    assert "No row of it has a partner here." in text
    assert row(text, "SAM") == ["SAM", "93.4"]


def test_which_of_several_rows_is_shown_is_footnoted(tmp_path: Path) -> None:
    cells = [cell("Mixup", 0.2)]
    more = {"report": {"accuracy": "last", "compare": ["arazo2019"]}}
    text = made(tmp_path / "s", cells, [record(cells[0], 0, 70.0)], **more)
    assert "2 rows of the source match; shown is the nearest (selection rule last, flip inclusive, PreAct" in text


def test_names_cannot_break_the_markdown(tmp_path: Path) -> None:
    name = "a|b <script>\n# *x* `y` \\"
    cells = [cell(name, 0.4, seeds=(0,)), cell("SGD", 0.4, seeds=(0,))]
    text = made(tmp_path / "s", cells, [record(c, 0, 70.0) for c in cells], description="<b>&|")
    assert "<script>" not in text
    assert "&lt;b&gt;&\\|" in text
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    assert len(tables) == 2
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in table.splitlines()}
        assert widths == {3}


def test_headings_stand_alone_and_the_text_ends_with_one_line_break(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.4), cell("SAM", 0.4)]
    text = made(tmp_path / "s", cells, [record(c, s, 70.0) for c in cells for s in (0, 1, 2)])
    lines = text.split("\n")
    assert lines[0].startswith("# example")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text
    for i, line in enumerate(lines):
        if line.startswith("#"):
            assert lines[i + 1] == ""
            assert i == 0 or lines[i - 1] == ""


def test_escape() -> None:
    assert escape("a  b\nc") == "a b c"
    assert escape("[x](javascript:run) ![y](z) [w]: v [m=8]") == r"[x\](javascript:run) ![y\](z) [w\]: v [m=8]"
    assert escape("x_y [z] & <w>|*") == "x_y [z] & &lt;w&gt;\\|\\*"
    assert escape("Zhang & Sabuncu R&D &lt; &#60; &#x3c;") == "Zhang & Sabuncu R&D &amp;lt; &amp;#60; &amp;#x3c;"
