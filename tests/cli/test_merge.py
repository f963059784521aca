"""``noisybench merge``: results folders of one suite from different places become one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from noisybench.cli.app import main
from noisybench.execute import join
from noisybench.files import json_with_hash, read_json
from noisybench.spec import sha256_of

SUITE = """
name: tiny
version: 1
dataset: {name: digits, train_subset: 100, test_subset: 50}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 8}
training: {epochs: 1, batch_size: 50}
seeds: 2
methods:
  SGD: {}
  Student: {relabel: SGD}
"""


@pytest.fixture
def nb(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYBENCH_DATA", str(tmp_path / "data"))
    Path("tiny.yaml").write_text(SUITE)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["noisybench", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def run(nb, place: str, *more: str) -> Path:
    code, _, err = nb("run", "tiny.yaml", "--runs", place, "--workers", "0", *more)
    assert (code, err) == (0, "")
    return Path(place, "tiny")


def hashes(folder: Path) -> dict[str, str]:
    return {p.parent.name: json.loads(p.read_text())["result_sha256"] for p in folder.glob("*/record.json")}


def change(folder: Path, status: str) -> str:
    """Make the first record say something else, soundly signed; returns its run."""
    path = sorted(folder.glob("*-sgd-*/record.json"))[0]
    record = read_json(path)
    record["result"]["status"] = status
    record["result"]["epochs"] = 99
    record["result_sha256"] = sha256_of(record["result"])
    record.pop("sha256", None)
    path.write_bytes(json_with_hash(record))
    return path.parent.name


def test_parts_of_a_study_become_the_whole(nb) -> None:
    whole = run(nb, "whole")
    first = run(nb, "a", "--only", "method=SGD")
    second = run(nb, "b", "--only", "seed=0")
    before = {path: path.read_bytes() for path in [*first.rglob("*"), *second.rglob("*")] if path.is_file()}
    code, out, err = nb("merge", str(first), str(second), "--into", "c/tiny")
    assert (code, err) == (0, "")
    assert out == "c/tiny: 3 runs copied, 1 were in several folders, the same.\n"
    merged = Path("c/tiny")
    assert hashes(merged).items() < hashes(whole).items()
    assert all(path.read_bytes() == content for path, content in before.items())
    code, out, _ = nb("run", "tiny.yaml", "--runs", "c", "--workers", "0")
    assert code == 0
    assert "4 runs, 3 already settled; training 1 " in out
    assert hashes(merged) == hashes(whole)
    assert nb("merge", str(whole), "--into", "c/tiny")[1].startswith("c/tiny: 0 runs copied")


def test_seeds_of_different_places_stand_in_one_plan(nb) -> None:
    first = run(nb, "a", "--set", "seeds=[0, 1]")
    second = run(nb, "b", "--set", "seeds=[2]")
    assert nb("merge", str(first), str(second), "--into", "c/tiny")[0] == 0
    assert read_json(Path("c/tiny/plan.json"))["cells"][0]["runs"].keys() == {"0", "1", "2"}
    code, out, _ = nb("report", "c/tiny", "--format", "md")
    assert code == 0
    assert "6 runs planned: 6 finished" in out


def test_runs_that_ended_differently_are_named_and_nothing_is_written(nb) -> None:
    first, second = run(nb, "a"), run(nb, "b")
    changed = change(second, "finished")
    code, out, err = nb("merge", str(first), str(second), "--into", "c/tiny")
    assert (code, out) == (2, "")
    assert "1 run ended differently" in err
    assert changed in err
    assert "--keep-first" in err
    assert not Path("c").exists()
    code, out, _ = nb("merge", str(first), str(second), "--into", "c/tiny", "--keep-first")
    assert code == 0
    assert f"{changed}: ended differently in a/tiny and b/tiny; that of a/tiny was taken" in out
    assert hashes(Path("c/tiny")) == hashes(first)


def test_a_failed_run_gives_way_to_a_finished_one(nb) -> None:
    first, second = run(nb, "a"), run(nb, "b")
    change(first, "failed")
    assert nb("merge", str(first), str(second), "--into", "c/tiny")[0] == 0
    assert hashes(Path("c/tiny")) == hashes(second)


def test_a_damaged_run_is_named_and_left_to_be_trained(nb) -> None:
    first = run(nb, "a")
    damaged = sorted(first.glob("*/curves.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    code, out, _ = nb("merge", str(first), "--into", "c/tiny")
    assert code == 0
    assert str(damaged) in out
    assert "3 runs copied" in out
    assert not Path("c/tiny", damaged.parent.name).exists()


def test_other_studies_and_other_folders_are_refused(nb) -> None:
    first = run(nb, "a")
    Path("tiny.yaml").write_text(SUITE.replace("epochs: 1", "epochs: 2"))
    other = run(nb, "b")
    code, _, err = nb("merge", str(first), str(other), "--into", "c/tiny")
    assert code == 2
    assert "a/tiny and b/tiny are not one study" in err
    assert "training.epochs was 1, is 2" in err
    code, _, err = nb("merge", "nowhere", "--into", "c/tiny")
    assert code == 2
    assert "nowhere: not a results folder" in err


def test_a_folder_that_lost_its_plan_keeps_what_it_has(nb) -> None:
    into, other = run(nb, "c"), run(nb, "b")
    change(other, "failed")
    Path(into, "plan.json").unlink()
    before = hashes(into)
    assert nb("merge", str(other), "--into", str(into))[0] == 0
    assert hashes(into) == before
    assert not list(into.glob("*/record.json.old"))


def test_a_run_that_is_settled_meanwhile_stays(nb, monkeypatch) -> None:
    first, into = run(nb, "a"), run(nb, "c")
    gone = sorted(into.glob("*-sgd-*/record.json"))[0]
    record = gone.read_bytes()
    gone.unlink()
    (gone.parent / "checkpoint.pt").write_bytes(b"")
    changed = change(first, "finished")
    choose = join._choose

    def slowly(run_id: str, *arguments):
        if run_id == changed == gone.parent.name:
            gone.write_bytes(record)  # another process ends its run here
        return choose(run_id, *arguments)

    monkeypatch.setattr(join, "_choose", slowly)
    code, out, _ = nb("merge", str(first), "--into", str(into))
    assert code == 0
    assert "settled while the folders were read" in out
    assert gone.read_bytes() == record


def test_who_trains_a_run_elsewhere_is_not_copied(nb) -> None:
    first = run(nb, "a")
    home = sorted(first.glob("*-sgd-*"))[0]
    (home / "running.json").write_text("{}")
    (home / "record.json.old").write_text("{}")
    assert nb("merge", str(first), "--into", "c/tiny")[0] == 0
    copied = {path.name for path in Path("c/tiny", home.name).iterdir()}
    assert "record.json" in copied
    assert not copied & {"running.json", "record.json.old"}


def test_a_damaged_run_of_the_folder_that_is_filled_is_replaced_by_a_whole_one(nb) -> None:
    first, second = run(nb, "a"), run(nb, "b")
    for damaged in (sorted(first.glob("*/curves.npz"))[0], sorted(first.glob("*/record.json"))[1]):
        damaged.write_bytes(damaged.read_bytes()[:-20])
    code, out, _ = nb("merge", str(second), "--into", str(first))
    assert code == 0
    assert "2 runs copied" in out
    assert out.count("set aside as") == 2
    assert hashes(first) == hashes(second)
    assert len(list(first.glob("*/*.corrupt*"))) == 2


@pytest.mark.parametrize("worse", ["failed", "unfinished"])
def test_a_finished_run_with_a_damaged_file_gives_way_to_no_worse_one(nb, worse: str) -> None:
    """What is missing there, ``run`` makes again without training."""
    into, other = run(nb, "c"), run(nb, "b")
    name = change(other, "failed")
    if worse == "unfinished":
        (other / name / "record.json").unlink()
        (other / name / "checkpoint.pt").write_bytes(b"")
    before = hashes(into)
    (into / name / "curves.npz").unlink()
    code, out, _ = nb("merge", str(other), "--into", str(into))
    assert code == 0
    assert f"{into / name / 'curves.npz'}: missing\n" in out
    assert "0 runs copied" in out
    assert not list(into.glob("*/*.old"))
    code, out, _ = nb("run", "tiny.yaml", "--runs", "c", "--workers", "0")
    assert "; training" not in out
    assert hashes(into) == before


def test_a_damaged_run_that_was_mended_meanwhile_stays(nb, monkeypatch) -> None:
    first, into = run(nb, "a"), run(nb, "c")
    damaged = sorted(into.glob("*-sgd-*/curves.npz"))[0]
    whole = damaged.read_bytes()
    damaged.unlink()
    choose = join._choose

    def slowly(run_id: str, *arguments):
        damaged.write_bytes(whole)
        return choose(run_id, *arguments)

    monkeypatch.setattr(join, "_choose", slowly)
    _, out, _ = nb("merge", str(first), "--into", str(into))
    assert "settled while the folders were read; left as it is" in out
    assert not list(into.glob("*/*.old"))


def test_a_record_that_gives_way_is_kept_and_named(nb) -> None:
    into, other = run(nb, "c"), run(nb, "b")
    name = change(into, "failed")
    code, out, _ = nb("merge", str(other), "--into", str(into))
    assert code == 0
    assert f"{into / name / 'record.json'}: kept as record.json.old\n" in out
    assert read_json(into / name / "record.json.old")["result"]["status"] == "failed"


def test_a_plan_of_parts_made_differently_does_not_say_how_one_of_them_was_made(nb) -> None:
    whole, same = run(nb, "a", "--only", "seed=0"), run(nb, "b", "--only", "seed=1")
    assert nb("merge", str(whole), str(same), "--into", "c/tiny")[0] == 0
    assert read_json(Path("c/tiny/plan.json"))["again"] == ["tiny.yaml"]
    other = run(nb, "d", "--set", "seeds=[2]")
    assert nb("merge", str(whole), str(other), "--into", "e/tiny")[0] == 0
    assert "again" not in read_json(Path("e/tiny/plan.json"))


def test_a_run_that_failed_before_it_had_a_spec_is_copied(nb) -> None:
    first = run(nb, "a")
    failed = change(first, "failed")
    (first / failed / "spec.json").unlink()
    assert nb("merge", str(first), "--into", "c/tiny")[0] == 0
    assert hashes(Path("c/tiny")) == hashes(first)
