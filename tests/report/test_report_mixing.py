"""What must not be mixed is left out of the numbers, and named with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store

from noisybench.report import report
from noisybench.report.results import read_study
from noisybench.report.tidy import csv_text, json_text

CELLS = [cell("SGD", 0.4), cell("SAM", 0.4)]


def records(**last: Any) -> list[dict[str, Any]]:
    """All six records; the changes are made to SAM's run with seed 2."""
    odd = record(CELLS[1], 2, 99.0, **last)
    return [record(c, seed, 80.0) for c in CELLS for seed in (0, 1, 2) if (c, seed) != (CELLS[1], 2)] + [odd]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data__fingerprint": "0" * 64}, "made from other data (fingerprint 000000000000) than 5 others"),
        ({"noise__open_set_sha256": "b" * 64}, "made with other noisy labels (hash 2 bbbbbbbbbb) than 1 other"),
        (
            {"spec__noise": {"kind": "symmetric", "rate": 0.4, "flip": "inclusive", "count": "exact"}},
            "noise.flip is inclusive, the plan says exclusive",
        ),
        ({"spec__noise": {"kind": "symmetric", "rate": 0.2}}, "noise.rate is 0.2, the plan says 0.4"),
    ],
)
def test_what_must_not_be_mixed_is_left_out(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    found = records(**changes)
    if "noise__open_set_sha256" in changes:  # SGD's run of that seed finished later: it is what stays
        found[2]["provenance"]["finished"] = "2026-01-01T00:00:00+00:00"
    folder = store(tmp_path / "s", plan(CELLS), found)
    study = read_study(folder)
    run_id = CELLS[1]["runs"]["2"]
    assert study.left_out == ((run_id, why),)
    assert study.counts["finished"] == 5
    assert study.counts["left out"] == 1
    assert study.cells[1].values("test_accuracy.last") == {"0": 80.0, "1": 80.0}
    whole = report(folder)
    assert json.loads(json_text(whole))["left_out"] == [{"run_id": run_id, "why": why}]
    assert "99" not in csv_text(whole)


def test_what_most_records_say_stays_and_of_as_many_what_finished_last(tmp_path: Path) -> None:
    one = [cell("SGD", 0.4, seeds=(0,)), cell("SAM", 0.4, seeds=(0,))]
    for later in (0, 1):
        found = [record(c, 0, 80.0, data__fingerprint=str(number) * 64) for number, c in enumerate(one)]
        found[later]["provenance"]["finished"] = "2026-01-02T00:00:00+00:00"
        found[1 - later]["provenance"]["finished"] = "2026-01-01T00:00:00+00:00"
        study = read_study(store(tmp_path / str(later), plan(one), found))
        assert [run_id for run_id, _ in study.left_out] == [one[1 - later]["runs"]["0"]]


def test_other_seeds_and_rates_have_labels_of_their_own(tmp_path: Path) -> None:
    cells = [*CELLS, cell("SGD", 0.2), cell("SAM", 0.2)]
    found = [
        record(c, seed, 80.0, noise__sha256=f"{seed} {c['settings']['noise']['rate']}")
        for c in cells
        for seed in (0, 1, 2)
    ]
    study = read_study(store(tmp_path / "s", plan(cells), found))
    assert study.left_out == ()
    assert study.counts["left out"] == 0
