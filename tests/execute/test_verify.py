"""A record holds if its files, data, labels, curves, predictions and weights, or a second training, bear it out."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from noisybench.cli.app import main
from noisybench.data import DataFolder
from noisybench.errors import InputError
from noisybench.execute.finding import BITWISE, STATISTICAL, find_runs
from noisybench.execute.retrain import retrain
from noisybench.execute.verify import verify
from noisybench.spec import sha256_of
from noisybench.store import Store, json_with_hash
from noisybench.suite import load_suite
from noisybench.train import trainer

SUITE = """
name: tiny
dataset: {name: digits, train_subset: 120, test_subset: 60, validation: 0.1}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 8}
training: {epochs: 2, batch_size: 50}
methods:
  SGD: {}
  Student: {relabel: SGD}
  Two: {algorithm: dividemix}
  RoG: {algorithm: rog}
"""
DATA = DataFolder(Path("nowhere"), None, download=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Method -> folder of its finished run."""
    root = tmp_path_factory.mktemp("trained")
    (root / "tiny.yaml").write_text(SUITE)
    expansion = load_suite(root / "tiny.yaml").expand()
    store = Store(root / "runs" / "tiny")
    for spec in expansion.runs:
        trainer.train(spec, store, DATA)
    return {cell["variant"]: store.folder(cell["runs"]["0"]) for cell in expansion.cells}


@pytest.fixture
def homes(trained: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The same in a store that a test may damage."""
    root = tmp_path / "runs" / "tiny"
    shutil.copytree(next(iter(trained.values())).parent, root)
    return {name: root / home.name for name, home in trained.items()}


def rewrite(home: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record and make it whole again: what only a comparison with the rest can find."""
    record = json.loads((home / "record.json").read_text())
    change(record)
    record["result_sha256"] = sha256_of(record["result"])
    (home / "record.json").write_bytes(json_with_hash(record))


def other_versions(record: dict[str, Any]) -> None:
    record["provenance"]["environments"][0]["torch"] = "1.0"


def test_what_was_trained_here_holds_bitwise(homes: dict[str, Path]) -> None:
    for name in ("SGD", "Student", "Two"):
        found = verify(homes[name], DATA)
        assert (found.holds, found.level) == (True, BITWISE), found
        assert [text.split()[0] for text in found.held] == [
            *("files", "data", "labels", "curves", "predictions", "weights"),
        ]


def test_a_method_that_answers_with_more_than_networks_must_be_trained_again(homes: dict[str, Path]) -> None:
    found = verify(homes["RoG"], DATA)
    assert found.holds is None
    assert "--retrain" in found.open[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["result"]["test_accuracy"].update(last=99.0), "test_accuracy.last is"),
        (lambda r: r["result"]["test_accuracy"].update(best=99.0), "test_accuracy.best is"),
        (lambda r: r["result"]["holdout_accuracy"].update(last=99.0), "holdout_accuracy.last is"),
        (lambda r: r["result"]["final"].update(memorised=1.5), "final.memorised is"),
        (lambda r: r["result"]["final"]["confusion"][0].reverse(), "confusion"),
        (lambda r: r["result"].update(epochs=3), "curves.npz has 2 epochs, the record 3"),
        (lambda r: r["result"]["data"].update(fingerprint="0" * 64), "other data"),
        (lambda r: r["result"]["data"].update(train_size=5), "data.train_size is 108, recorded 5"),
        (lambda r: r["result"]["noise"].update(sha256="0" * 64), "not those recorded"),
        (lambda r: r["result"]["noise"].update(realised_rate=0.9), "realised noise rate"),
        (lambda r: r["result"]["spec"]["noise"].update(flip="inclusive"), "not those recorded"),
    ],
)
def test_a_record_that_says_something_else_does_not_hold(
    homes: dict[str, Path], change: Callable[[dict[str, Any]], None], says: str
) -> None:
    rewrite(homes["SGD"], change)
    found = verify(homes["SGD"], DATA)
    assert found.holds is False
    assert says in " ".join(found.wrong)


def test_a_student_of_another_teacher_does_not_hold(homes: dict[str, Path]) -> None:
    rewrite(homes["Student"], lambda record: record["result"]["noise"].update(relabel_sha256="0" * 64))
    assert "its teacher's predictions are not those it was trained on" in verify(homes["Student"], DATA).wrong


def test_other_weights_do_not_hold_though_their_checksum_does(homes: dict[str, Path]) -> None:
    path = homes["SGD"] / "model.pt"
    torch.save({key: -value for key, value in torch.load(path, weights_only=True).items()}, path)
    found = verify(homes["SGD"], DATA)
    assert found.wrong[0].startswith("model.pt: damaged")
    rewrite(
        homes["SGD"],
        lambda record: record["provenance"]["files"].update(
            {"model.pt": hashlib.sha256(path.read_bytes()).hexdigest()}
        ),
    )
    found = verify(homes["SGD"], DATA)
    assert found.holds is False
    assert "images otherwise" in found.wrong[0]


def test_weights_of_another_network_or_none_are_named(homes: dict[str, Path]) -> None:
    path = homes["SGD"] / "model.pt"
    for content, says in (({"a": torch.zeros(2)}, "model.pt is of another network"), ([1], "something else")):
        torch.save(content, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rewrite(homes["SGD"], lambda r, d=digest: r["provenance"]["files"].update({"model.pt": d}))
        assert says in verify(homes["SGD"], DATA).wrong[0]


@pytest.mark.parametrize("name", ["predictions.npz", "correct.npz", "curves.npz", "record.json"])
def test_damaged_files_are_named(homes: dict[str, Path], name: str) -> None:
    path = homes["SGD"] / name
    path.write_bytes(path.read_bytes()[:-30])
    found = verify(homes["SGD"], DATA)
    assert found.holds is False
    assert found.wrong[0].startswith(name)


def test_weights_that_were_not_kept_and_absent_data_are_said_in_one_line(homes: dict[str, Path]) -> None:
    (homes["SGD"] / "model.pt").unlink()
    found = verify(homes["SGD"], DATA)
    assert found.holds is None
    assert found.open == ["its weights were not kept, so they cannot be evaluated; --retrain trains the run again"]
    rewrite(homes["Two"], lambda record: record["result"]["spec"]["dataset"].update(name="cifar10"))
    found = verify(homes["Two"], DATA)
    assert found.holds is None
    assert "cifar10 is not there and downloads are off" in found.open[0]


def test_under_other_versions_the_level_is_statistical(homes: dict[str, Path]) -> None:
    rewrite(homes["SGD"], other_versions)
    found = verify(homes["SGD"], DATA)
    assert (found.holds, found.level) == (True, STATISTICAL)
    assert "torch 1.0, here" in found.notes[0]


def test_training_again_gives_the_same_record(homes: dict[str, Path], trained: dict[str, Path]) -> None:
    before = {path: path.read_bytes() for path in homes["SGD"].parent.rglob("*") if path.is_file()}
    for name in ("SGD", "Student"):
        found = retrain(homes[name], DATA)
        assert (found.holds, found.level, found.held) == (
            True,
            BITWISE,
            ["trained again, with the same result bit for bit"],
        )
    assert before == {path: path.read_bytes() for path in homes["SGD"].parent.rglob("*") if path.is_file()}


def test_training_again_finds_another_result(homes: dict[str, Path]) -> None:
    rewrite(homes["SGD"], lambda record: record["result"]["final"].update(train_loss=1.25))
    found = retrain(homes["SGD"], DATA)
    assert found.holds is False
    assert "final.train_loss is" in found.wrong[0]
    assert "recorded 1.25" in found.wrong[0]


@pytest.mark.parametrize(("points", "holds"), [(5.0, True), (60.0, False)])
def test_training_again_elsewhere_is_held_against_chance(homes: dict[str, Path], points: float, holds: bool) -> None:
    def change(record: dict[str, Any]) -> None:
        other_versions(record)
        record["result"]["test_accuracy"]["last"] += points

    rewrite(homes["SGD"], change)
    found = retrain(homes["SGD"], DATA)
    assert (found.holds, found.level) == (holds, STATISTICAL)
    assert f"{-points:+.2f} points from the record" in (found.held or found.wrong)[0]


def test_elsewhere_other_labels_do_not_hold(homes: dict[str, Path]) -> None:
    rewrite(homes["SGD"], lambda record: (other_versions(record), record["result"]["noise"].update(sha256="0" * 64)))
    assert "noise.sha256 is" in retrain(homes["SGD"], DATA).wrong[0]


def test_a_run_of_other_components_is_not_trained_again(homes: dict[str, Path]) -> None:
    rewrite(homes["SGD"], lambda record: record["result"]["spec"]["training"].update(epochs=1))
    found = retrain(homes["SGD"], DATA)
    assert found.holds is None
    assert "another id today" in found.open[0]


def test_what_names_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no settled run in it"):
        find_runs(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_runs(tmp_path / "gone")


def test_the_command_says_in_words_what_held(
    homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["noisybench", "verify", *arguments, "--data-dir", str(tmp_path)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().out.splitlines()

    code, lines = command(str(homes["SGD"]))
    assert code == 0
    assert lines[0].startswith(f"holds, bitwise: {homes['SGD'].name} (files, data, labels")
    assert command(str(homes["SGD"]), "--retrain") == (
        0,
        [f"holds, bitwise: {homes['SGD'].name} (trained again, with the same result bit for bit)"],
    )
    (homes["Two"] / "curves.npz").unlink()
    code, lines = command(str(homes["SGD"].parent))
    assert code == 1
    assert lines[-1] == "4 runs: 2 hold bitwise, 1 do not hold, 1 could not be verified."
    assert any(line.startswith(f"DOES NOT HOLD: {homes['Two'].name}: curves.npz: missing") for line in lines)
