"""Which records count, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store

from noisybench.errors import InputError, StoreError
from noisybench.report.results import read_study
from noisybench.spec import sha256_of
from noisybench.store import Store


def statuses(folder: Path) -> dict[str, int]:
    """Counts that are not zero."""
    return {name: n for name, n in read_study(folder).counts.items() if n}


def test_runs_without_a_record_are_missing(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4)
    folder = store(tmp_path / "s", plan([sgd]), [record(sgd, 0, 80.0), record(sgd, 2, 81.0)])
    assert statuses(folder) == {"planned": 3, "finished": 2, "missing": 1}
    assert [run.status for run in read_study(folder).cells[0].runs] == ["finished", "missing", "finished"]


def test_a_run_that_two_cells_share_counts_once(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4)
    other = {**sgd, "method": "CE", "variant": "CE"}
    folder = store(tmp_path / "s", plan([sgd, other]), [record(sgd, 0, 80.0)])
    assert statuses(folder) == {"planned": 3, "finished": 1, "missing": 2}


@pytest.mark.parametrize("relabel", ["SAM", "sam-0.4-s0", {"0": "sam-0.4-s0", "1": "sam-0.4-s1", "2": "sam-0.4-s2"}])
def test_students_of_a_teacher_that_did_not_finish_are_blocked(tmp_path: Path, relabel: Any) -> None:
    sam = cell("SAM", 0.4)
    student = cell("Bootstrap", 0.4, settings={"method__relabel": relabel})
    again = cell("Twice", 0.4, settings={"method__relabel": "Bootstrap"})
    records = [record(sam, 0, 80.0), record(sam, 1, "nan", status="diverged"), record(sam, 2, "nan", status="failed")]
    folder = store(tmp_path / "s", plan([sam, student, again]), records)
    assert statuses(folder) == {"planned": 9, "finished": 1, "diverged": 1, "failed": 1, "missing": 2, "blocked": 4}


def test_a_student_that_has_its_record_is_not_blocked(tmp_path: Path) -> None:
    sam, student = cell("SAM", 0.4), cell("Bootstrap", 0.4, settings={"method__relabel": "SAM"})
    records = [record(sam, s, "nan", status="failed") for s in (0, 1, 2)] + [record(student, 0, 70.0)]
    folder = store(tmp_path / "s", plan([sam, student]), records)
    assert statuses(folder) == {"planned": 6, "finished": 1, "failed": 3, "blocked": 2}


def broken(kind: str, good: dict[str, Any]) -> str:
    """The text of a record that must not be used."""
    if kind == "cut":
        return json.dumps(good)[:-20]
    if kind == "edited":
        good["result"]["test_accuracy"]["last"] = 99.0
    elif kind == "no result":
        del good["result"]
    elif kind == "other run":
        good["run_id"] = "sgd-0.4-s1"
    elif kind == "other seed":
        good["result"]["spec"]["seed"] = 5
        good["result_sha256"] = sha256_of(good["result"])
    elif kind == "schema":
        good["schema"] = 2
    elif kind == "status":
        good["result"]["status"] = "done"
        good["result_sha256"] = sha256_of(good["result"])
    elif kind == "no accuracy":
        good["result"]["test_accuracy"]["last"] = "nan"
        good["result_sha256"] = sha256_of(good["result"])
    elif kind == "a list":
        return "[1]"
    elif kind == "not finite":
        good["result"]["test_accuracy"]["last"] = float("inf")
    return json.dumps(good)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("cut", "not readable as JSON"),
        ("edited", "result_sha256 does not match"),
        ("no result", "no result"),
        ("other run", "another run"),
        ("other seed", "another run"),
        ("schema", "schema 2"),
        ("status", "unknown status 'done'"),
        ("no accuracy", "without a test accuracy"),
        ("a list", "no result"),
        ("not finite", "result_sha256 does not match"),
    ],
)
def test_a_damaged_record_is_named_and_not_used(tmp_path: Path, kind: str, why: str) -> None:
    sgd = cell("SGD", 0.4)
    folder = store(tmp_path / "s", plan([sgd]), [record(sgd, s, 80.0) for s in (0, 1, 2)])
    (folder / "sgd-0.4-s0" / "record.json").write_text(broken(kind, record(sgd, 0, 80.0)))
    study = read_study(folder)
    assert statuses(folder) == {"planned": 3, "finished": 2, "damaged": 1}
    assert [run_id for run_id, _ in study.damaged] == ["sgd-0.4-s0"]
    assert why in study.damaged[0][1]
    assert study.cells[0].values("test_accuracy.last") == {"1": 80.0, "2": 80.0}


def test_records_that_are_not_in_the_plan_are_named(tmp_path: Path) -> None:
    sgd, gone = cell("SGD", 0.4), cell("Gone", 0.4, seeds=(0,))
    folder = store(tmp_path / "s", plan([sgd]), [record(sgd, 0, 80.0), record(gone, 0, 80.0)])
    study = read_study(folder)
    assert study.unplanned == ("gone-0.4-s0",)
    assert study.counts["planned"] == 3


def test_no_plan_is_an_input_error_that_says_where_plans_are(tmp_path: Path) -> None:
    store(tmp_path / "runs" / "mine", plan([cell("SGD", 0.4)]), [])
    with pytest.raises(InputError, match=r"no plan.json there; there are plans in: mine"):
        read_study(tmp_path / "runs")
    with pytest.raises(InputError, match="no such folder"):
        read_study(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is damaged"), ("[]", "not a mapping"), ('{"schema": 2}', "schema 2"), ('{"schema": 1}', "no 'cells'")],
)
def test_a_damaged_plan_is_a_store_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_study(tmp_path)


def test_seeds_are_ordered_as_numbers(tmp_path: Path) -> None:
    folder = store(tmp_path / "s", plan([cell("SGD", 0.4, seeds=(10, 2, 1))]), [])
    assert [run.seed for run in read_study(folder).cells[0].runs] == ["1", "2", "10"]


@pytest.mark.parametrize("run_id", ["../elsewhere", "/etc", "a/b", "..", "", "a\\b"])
def test_a_plan_cannot_name_folders_outside_the_store(tmp_path: Path, run_id: str) -> None:
    sgd = cell("SGD", 0.4)
    sgd["runs"]["0"] = run_id
    with pytest.raises(StoreError, match="is no run id"):
        read_study(store(tmp_path / "s", plan([sgd]), []))


def test_a_plan_that_was_changed_by_hand_is_damaged(tmp_path: Path) -> None:
    Store(tmp_path).write_plan(plan([cell("SGD", 0.4)]))
    read_study(tmp_path)
    path = tmp_path / "plan.json"
    text = path.read_text()
    assert '"last"' in text
    path.write_text(text.replace('"last"', '"best"'))
    with pytest.raises(StoreError, match="its checksum does not match"):
        read_study(tmp_path)
