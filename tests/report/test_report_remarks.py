"""Footnotes, warnings and sentences say what the data say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store, study

from noisybench.report import report
from noisybench.report.remarks import is_plain, sentences, warnings
from noisybench.report.results import read_study

SAM: dict[str, Any] = {"training__optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}}


def two_methods(
    folder: Path,
    sgd: tuple[float, ...],
    other: tuple[float, ...],
    rate: float = 0.4,
    test_size: int | None = 10000,
    **more: Any,
) -> Path:
    """SGD and SAM at one rate, one accuracy for each seed."""
    seeds = tuple(range(len(sgd)))
    cells = [cell("SGD", rate, seeds=seeds), cell("SAM", rate, seeds=seeds, settings=SAM)]
    records = [
        record(c, s, v, data__test_size=test_size)
        for c, values in zip(cells, (sgd, other), strict=True)
        for s, v in enumerate(values)
    ]
    return store(folder, plan(cells, **more), records)


def test_the_largest_loss_of_plain_training_is_told(tmp_path: Path) -> None:
    """Differences 30, 31, 32: mean 31, half width 4.30265 / sqrt 3 = 2.5. Memorised 60, 61, 62."""
    found = sentences(report(two_methods(tmp_path / "s", (50.0, 51.0, 52.0), (80.0, 82.0, 84.0))))
    assert found == [
        "At symmetric 40 %, SGD ends at 51.0 % and has memorised 61 % of the wrong labels; "
        "SAM has 82.0 %, +31.0 ± 2.5 points.",
        "SAM is ahead of every other method at symmetric 40 %.",
    ]


def test_equal_differences_of_two_seeds_are_no_certainty(tmp_path: Path) -> None:
    """50 test images, +4 points in both seeds: 12.7062 x 2 / sqrt 12 = 7.3, and the table says what that rests on."""
    folder = two_methods(tmp_path / "s", (60.0, 62.0), (64.0, 66.0), test_size=50)
    text = " ".join(report(folder).to_text().split())
    assert "could be seen, column by column: 7.3 points." in text
    assert "no smaller than that of rounding to whole test images" in text
    assert "+4.0 ± 7.3 points, not told apart" in text
    large = report(two_methods(tmp_path / "large", (60.0, 62.0), (64.0, 66.0))).to_text()
    assert "column by column: < 0.1 points." in " ".join(large.split())
    unknown = report(two_methods(tmp_path / "unknown", (60.0, 62.0), (64.0, 66.0), test_size=None)).to_text()
    assert "rounding" not in unknown


def test_a_difference_within_the_scatter_is_not_a_lead(tmp_path: Path) -> None:
    """Differences -1, 1, 3: mean 1, s = 2, half width 4.97: the sentences and the table's marks say one thing."""
    found = sentences(report(two_methods(tmp_path / "s", (80.0, 80.0, 80.0), (79.0, 81.0, 83.0))))
    assert found[0].endswith("SAM has 81.0 %, +1.0 ± 5.0 points, not told apart.")
    assert found[1] == "With 3 seeds the best method is nowhere told apart from all others."


def test_one_seed_gives_no_interval_and_no_lead(tmp_path: Path) -> None:
    found = sentences(report(two_methods(tmp_path / "s", (50.0,), (80.0,))))
    assert found[0].endswith("SAM has 80.0 % (one seed: no interval).")
    assert found[1] == "With 1 seed the best method is nowhere told apart from all others."


def test_leads_at_some_noises_say_that_there_are_others(tmp_path: Path) -> None:
    cells = [cell(m, r, settings=c) for r in (0.2, 0.4) for m, c in (("SGD", {}), ("SAM", SAM))]
    values = {("SGD", 0.2): (70.0, 71.0, 72.0), ("SAM", 0.2): (80.0, 81.0, 82.0)}
    values |= {("SGD", 0.4): (80.0, 80.0, 80.0), ("SAM", 0.4): (79.0, 81.0, 83.0)}
    records = [record(c, s, values[c["method"], c["settings"]["noise"]["rate"]][s]) for c in cells for s in (0, 1, 2)]
    assert sentences(report(store(tmp_path / "s", plan(cells), records)))[1] == (
        "SAM is ahead of every other method at symmetric 20 %; elsewhere the best is not told apart from all others."
    )


def test_when_plain_training_wins_no_other_is_named(tmp_path: Path) -> None:
    found = sentences(report(two_methods(tmp_path / "s", (90.0, 91.0, 92.0), (80.0, 81.0, 82.0))))
    assert found == [
        "At symmetric 40 %, SGD ends at 91.0 % and has memorised 61 % of the wrong labels.",
        "SGD is ahead of every other method at symmetric 40 %.",
    ]


def test_under_another_rule_nothing_ends(tmp_path: Path) -> None:
    found = sentences(report(two_methods(tmp_path / "s", (50.0,), (80.0,)), accuracy="best"))
    assert found[0].startswith("At symmetric 40 %, SGD scores 52.0 % and")


def test_without_results_or_in_a_smoke_run_nothing_is_claimed(tmp_path: Path) -> None:
    assert sentences(report(store(tmp_path / "s", plan([cell("SGD", 0.4), cell("SAM", 0.4)]), []))) == []
    smoke = sentences(report(two_methods(tmp_path / "t", (50.0,), (80.0,), smoke=True)))
    assert smoke == ["A smoke run shows that everything works; its numbers mean nothing."]


@pytest.mark.parametrize(
    "changes",
    [
        SAM,
        {"method__loss": {"name": "gce"}},
        {"method__mixup": {"alpha": 1}},
        {"method__relabel": "SAM"},
        {"method__algorithm": {"name": "coteaching"}},
    ],
)
def test_plain_training_is_cross_entropy_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = store(tmp_path / "s", plan([cell("SGD", 0.4), cell("Other", 0.4, settings=changes)]), [])
    assert [is_plain(c) for c in read_study(folder).cells] == [True, False]


def test_records_that_are_left_out_are_named_with_the_reason(tmp_path: Path) -> None:
    folder, whole, records = study(tmp_path / "s", lambda m, r, s: 80.0)
    assert warnings(report(folder)) == []
    records[-1] = record(whole["cells"][-1], 2, 80.0, data__fingerprint="0" * 64)
    run_id = whole["cells"][-1]["runs"]["2"]
    (warning,) = warnings(report(store(folder, whole, records)))
    assert warning.startswith(f"1 record is left out and must not be mixed with the others: {run_id}: made from other")
