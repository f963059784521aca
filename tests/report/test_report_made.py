"""How a number was made."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from studies import SETTINGS, cell, plan, record, store

from noisybench.report import report
from noisybench.report.made import UNKNOWN, command, differences, duration, made, varying
from noisybench.suite import build_plan, load_suite, select
from noisybench.suite.plan import join_plans

SUITE = """
name: mine
version: 1
dataset: digits
noise: {kind: symmetric, rate: [0.2, 0.4]}
model: mlp
training: {epochs: 3, batch_size: 128}
methods:
  SGD: {}
  Müller's SAM: {optimizer: {name: sam, rho: 0.2}, mixup: {alpha: [1, 8]}}
"""


@pytest.fixture(scope="module")
def expansion(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("suite") / "mine.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return load_suite(path).expand()


def test_differences_from_the_defaults(expansion: Any) -> None:
    settings = expansion.cells[1]["settings"]
    found = {d.path: (d.value, d.default) for d in differences(settings)}
    assert found["training.epochs"] == ("3", "200")
    assert found["training.optimizer.name"] == ("sam", "sgd")
    assert found["training.optimizer.rho"] == ("0.2", "0.05")
    assert found["model.name"] == ("mlp", "has no default")
    assert "training.batch_size" not in found, "it is stated, and the default"
    assert "training.optimizer.base.name" not in found
    assert "method.loss.name" not in found


def test_a_plug_in_s_defaults_are_not_made_up() -> None:
    settings = copy.deepcopy(SETTINGS)
    settings["method"]["loss"] = {"name": "someones_own", "q": 0.7}
    found = {d.path: (d.value, d.default) for d in differences(settings)}
    assert found["method.loss.name"] == ("someones_own", "ce")
    assert found["method.loss.q"] == ("0.7", UNKNOWN)


def test_the_command_trains_just_this_cell(expansion: Any, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(build_plan(expansion)), encoding="utf-8")
    study = report(tmp_path).study
    for planned in study.cells:
        words = shlex.split(command(study, planned, varying(study)))
        assert words[:3] == ["noisybench", "run", "mine.yaml"]
        conditions = [value for flag, value in zip(words[3::2], words[4::2], strict=True) if flag == "--only"]
        assert select(expansion, conditions) == {run.run_id for run in planned.runs}


def test_the_command_has_all_that_decided_on_the_plan(expansion: Any, tmp_path: Path) -> None:
    again = ["my suites/mine.yaml", "--set", "training.epochs=3", "--plugin", "my loss.py", "--name", "theirs"]
    (tmp_path / "plan.json").write_text(json.dumps(build_plan(expansion, again)), encoding="utf-8")
    study = report(tmp_path).study
    told = command(study, study.cells[0], varying(study))
    assert told.startswith("noisybench run 'my suites/mine.yaml' --set training.epochs=3 --plugin 'my loss.py' ")
    assert shlex.split(told)[2:9] == again
    assert shlex.split(told)[9:11] == ["--only", "method=SGD"]


def test_a_plan_of_parts_has_no_command_of_one_part(expansion: Any, tmp_path: Path) -> None:
    parts = [build_plan(expansion, ["x.yaml", "--set", f"seeds=[{seed}]"]) for seed in (0, 1)]
    (tmp_path / "plan.json").write_text(json.dumps(join_plans(*parts)), encoding="utf-8")
    study = report(tmp_path).study
    for planned in study.cells:
        assert shlex.split(command(study, planned, varying(study)))[:4] == ["noisybench", "run", "mine.yaml", "--only"]


def test_a_smoke_run_stays_one_whatever_its_command(tmp_path: Path) -> None:
    again = ["quickstart", "--name", "mine"]
    whole = plan([cell("SGD", 0.4)], suite="mine-smoke", smoke=True, again=again)
    study = report(store(tmp_path, whole, [])).study
    assert command(study, study.cells[0], varying(study)) == "noisybench run quickstart --name mine --smoke"


def test_a_shipped_suite_is_named_and_a_smoke_run_stays_one(tmp_path: Path) -> None:
    study = report(store(tmp_path, plan([cell("SGD", 0.4)], suite="quickstart-smoke", smoke=True), [])).study
    assert command(study, study.cells[0], varying(study)) == "noisybench run quickstart --smoke"


def test_facts_of_the_records(tmp_path: Path) -> None:
    planned = cell("SGD", 0.4)
    records = [record(planned, seed, 80.0 + seed, noise__sha256="ab" * 32) for seed in (0, 1)]
    for item, device in zip(records, ("CPU X", "CPU Y"), strict=True):
        item["provenance"] = {
            "device": "cpu",
            "device_name": device,
            "seconds": {"total": 45.0},
            "versions": {"torch": "2.6.0", "noisybench": "0.1.0"},
            "threads": 1,
        }
    failed = record(planned, 2, "nan", status="failed")
    failed["provenance"] = {"error": "RuntimeError: <b>no</b>", "device": "cpu"}
    study = report(store(tmp_path, plan([planned]), [*records, failed])).study
    found = made(study, study.cells[0])
    facts = dict(found.facts)
    assert facts["versions"] == "noisybench 0.1.0, torch 2.6.0"
    assert facts["device"] == "CPU X, CPU Y, cpu"
    assert facts["wall time"] == "1 min 30 s for 2 runs"
    assert facts["wrong labels, measured"] == "40.00 %"
    assert [run.labels for run in found.runs[:2]] == ["ab" * 8] * 2
    assert found.runs[2].error == "RuntimeError: <b>no</b>"


def test_durations() -> None:
    assert [duration(s) for s in (1.234, 59.9, 200, 7500)] == ["1.23 s", "59.9 s", "3 min 20 s", "2 h 05 min"]


def test_in_a_merged_report_a_cell_names_its_own_suite(tmp_path: Path) -> None:
    one = store(tmp_path / "one", plan([cell("SGD", 0.4)], suite="one"), [])
    other = cell("SGD", 0.4, settings={"training__optimizer__lr": 0.5})
    other["runs"] = {seed: f"other-{seed}" for seed in other["runs"]}
    two = store(tmp_path / "two", plan([other], suite="two"), [])
    study = report(one, two).study
    told = [command(study, planned, varying(study)) for planned in study.cells]
    assert told == ["noisybench run one.yaml --only method=SGD", "noisybench run two.yaml --only method=SGD"]
    two = store(tmp_path / "two", plan([other], suite="two", again=["two.yml", "--name", "two"]), [])
    study = report(one, two).study
    told = [command(study, planned, varying(study)) for planned in study.cells]
    assert told == ["noisybench run one.yaml --only method=SGD", "noisybench run two.yml --name two --only method=SGD"]


def test_a_cell_with_seeds_of_several_folders_names_no_command_that_trains_a_part_of_them(tmp_path: Path) -> None:
    def part(name: str, *seeds: int) -> Path:
        planned = cell("SGD", 0.4, seeds=seeds)
        records = [record(planned, seed, 80.0 + seed) for seed in seeds]
        listed = ",".join(map(str, seeds))
        return store(
            tmp_path / name, plan([planned], suite="one", again=["1.yml", "--set", f"seeds=[{listed}]"]), records
        )

    def told(*parts: Path) -> str:
        study = report(*parts).study
        return command(study, study.cells[0], varying(study))

    assert told(part("a", 0), part("b", 1)) == "noisybench run one.yaml"
    assert told(part("c", 0, 1), part("d", 1)) == "noisybench run 1.yml --set 'seeds=[0,1]'"
    assert told(part("e", 1), part("f", 0, 1)) == "noisybench run 1.yml --set 'seeds=[0,1]'"
