"""``noisybench bench``: what it calls and counts, never how long it takes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from noisybench.bench.many_records import measure_report
from noisybench.bench.ours import OwnLoop, Setting
from noisybench.bench.processes import measure_workers, peak_memory
from noisybench.bench.textbook import RHO, TextbookLoop
from noisybench.bench.timing import Spread, in_turns, ratio
from noisybench.bench.training import TEXTBOOK, measure_overhead, measure_training
from noisybench.cli.app import main
from noisybench.report import report

TINY = Setting(model="small_cnn", batch_size=16, side=8, train=64, test=20, precision="fp32")


def test_works_take_turns_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []
    values = {"a": iter([9.0, 1.0, 2.0]), "b": iter([9.0, 3.0, 4.0])}

    def work(name: str) -> float:
        calls.append(name)
        return next(values[name])

    measured = in_turns({"a": lambda: work("a"), "b": lambda: work("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert measured == {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert ratio(measured["b"], measured["a"]) == Spread(2.5, 2.0, 3.0)
    assert Spread.of([3.0, 1.0, 2.0]).text(1) == "2.0 (1.0 to 3.0)"


def test_training_has_a_row_for_each_way_and_its_ratio_to_the_textbook(tmp_path: Path) -> None:
    rates = {"fp32": 1e9, "bf16": 1e9}
    speeds = measure_training([("small_cnn", "sam")], [("fp32", "off"), ("bf16", "off")], TINY, 2, tmp_path, rates)
    assert [speed.way for speed in speeds] == [TEXTBOOK, "fp32", "bf16"]
    assert speeds[0].ratio == Spread(1.0, 1.0, 1.0)
    assert speeds[0].utilisation is None
    macs = 3 * 32 * 9 * 64 + 32 * 32 * 9 * 64 + 32 * 64 * 9 * 16 + 64 * 64 * 9 * 16 + 640
    assert speeds[1].utilisation == pytest.approx(speeds[1].images_per_second.median * 6 * macs * 2 / 1e9)


def test_own_loop_trains_as_a_run_does(tmp_path: Path) -> None:
    own = OwnLoop(replace(TINY, optimizer="sam"), tmp_path)
    before = [weight.clone() for weight in own.run.algorithm.model.parameters()]
    assert own.epoch() > 0
    assert own.run.task.gradient_evaluations == 2 * 64
    assert own.bare_seconds() > 0
    assert own.run.task.gradient_evaluations == 4 * 64
    assert any(not torch.equal(a, b) for a, b in zip(before, own.run.algorithm.model.parameters(), strict=True))


def test_overhead_counts_evaluation_apart(tmp_path: Path) -> None:
    cost = measure_overhead(TINY, 2, tmp_path)
    assert cost.loop.low <= cost.loop.median <= cost.loop.high
    assert cost.evaluation.low > 0


def test_the_textbook_loop_sees_every_image_and_climbs_by_rho(tmp_path: Path) -> None:
    data = OwnLoop(TINY, tmp_path).data
    loop = TextbookLoop(data, "small_cnn", "sam", batch_size=16, device="cpu", threads=1, workers=0)
    seen = [label for _, labels in loop.loader for label in labels.tolist()]
    assert sorted(seen) == sorted(data.train_labels.tolist())
    images, labels = next(iter(loop.loader))
    loop.criterion(loop.model(images), labels).backward()
    before = [weight.detach().clone() for weight in loop.model.parameters()]
    moves = loop._climb()
    length = torch.stack([move.norm() for _, move in moves]).norm()
    assert float(length) == pytest.approx(RHO, rel=1e-5)
    moved = [weight.detach() - old for weight, old in zip(loop.model.parameters(), before, strict=True)]
    assert all(torch.allclose(m, move, atol=1e-6) for m, (_, move) in zip(moved, moves, strict=True))
    assert loop.epoch() > 0


@pytest.mark.slow
def test_whole_studies_and_peak_memory(tmp_path: Path) -> None:
    study = replace(TINY, epochs=1, seeds=2)
    found = measure_workers(study, [(1, 1), (2, 1)], 1, tmp_path)
    assert [(t.workers, t.threads) for t in found] == [(1, 1), (2, 1)]
    assert all(t.runs_per_hour.low > 0 for t in found)
    assert 1e7 < peak_memory(TINY, tmp_path / "memory") < 1e10


def test_the_report_over_many_records_reads_them_all(tmp_path: Path) -> None:
    assert measure_report(40, tmp_path, methods=2) > 0
    study = report(tmp_path / "store-40").study
    assert (len(study.cells), len(study.damaged), len(study.unplanned)) == (4, 0, 0)
    assert all(len(cell.finished) == 10 for cell in study.cells)


def test_the_command_prints_tables_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.json"
    arguments = ["noise", "startup", "--size", "2000", "--repeats", "1", "--json", str(out), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["noisybench", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    text = capsys.readouterr().out
    assert "symmetric, exclusive, exact" in text
    assert "noisybench --help" in text
    found = json.loads(out.read_text())
    assert set(found) == {"machine", "noise", "startup"}
    assert found["startup"]["low"] <= found["startup"]["high"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trainig"], "no such part; did you mean 'training'?"),
        (["training", "--optimizer", "adam"], "--optimizer adam: sgd or sam"),
        (["training", "--model", "resnet33"], "resnet33"),
        (["noise", "--json", "nowhere/b.json"], "no folder nowhere"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["noisybench", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
