"""The simulation of large studies: makespans by hand, and what becomes the limit."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pytest

from noisybench.bench.ours import Setting
from noisybench.bench.processes import driver_cost
from noisybench.bench.scaling import measured_seconds, simulate, study_of
from noisybench.cli.app import main
from noisybench.errors import InputError
from noisybench.spec import RunSpec


def run(name: str, teacher: str | None = None) -> RunSpec:
    return RunSpec({"method": {"relabel": teacher}}, name)


def test_makespan_by_hand() -> None:
    runs = [run("a"), run("b"), run("c")]
    seconds = {"a": 4.0, "b": 3.0, "c": 3.0}
    one = simulate(runs, seconds, 1, cost=0.0)
    assert (one.seconds, one.efficiency, one.driver, one.limit) == (10.0, 1.0, 0.0, "")
    two = simulate(runs, seconds, 2, cost=0.0)  # a 0-4, b 0-3, c 3-6
    assert two.seconds == 6.0
    assert two.efficiency == pytest.approx(10 / 12)
    assert simulate(runs, seconds, 2, cost=0.0, start=2.0).seconds == 8.0


def test_every_assignment_waits_for_the_driver() -> None:
    runs = [run(str(number)) for number in range(100)]
    seconds = {spec.run_id: 1.0 for spec in runs}
    found = simulate(runs, seconds, 100, cost=0.5)
    assert found.seconds == pytest.approx(51.0)
    assert found.driver == pytest.approx(50 / 51)
    assert found.limit == "the driver"


def test_students_follow_their_teachers() -> None:
    runs = [run("t"), run("s", "t"), run("u", "s"), run("x")]
    found = simulate(runs, {"t": 2.0, "s": 2.0, "u": 2.0, "x": 1.0}, 50, cost=0.0)
    assert (found.seconds, found.longest, found.limit) == (6.0, 6.0, "the longest chain of runs")


def test_a_hundred_thousand_runs_are_handed_out_in_bounded_memory() -> None:
    runs, seconds = study_of([1.0, 2.0, 5.0], 100_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = simulate(runs, seconds, 512, cost=1e-4)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert 0.9 < found.efficiency < 1
    assert grown < 100_000 * 2000  # two kilobytes a run


def test_seconds_are_taken_from_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with pytest.raises(InputError, match="no finished run"):
        measured_seconds(tmp_path)
    setting = Setting(model="mlp", batch_size=16, side=8, train=32, test=20, epochs=1, precision="fp32")
    cost = driver_cost(setting, tmp_path / "cost", sizes=(2, 4))
    assert cost >= 0
    times = measured_seconds(tmp_path / "cost/4/runs")
    assert len(times) == 4
    out = tmp_path / "b.json"
    folder = str(tmp_path / "cost/4/runs")
    monkeypatch.setattr(
        sys, "argv", ["noisybench", "bench", "scaling", "--times", folder, "--cost", "0.01", "--json", str(out)]
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    assert [row["workers"] for row in json.loads(out.read_text())["scaling"]["scaled"]] == [1, 8, 64, 512, 4096]
    assert "10,000 runs" in capsys.readouterr().out
