"""Every file of a run's folder truncated, emptied and bit-flipped in turn: named, set aside, redone."""

from __future__ import annotations

import os
import random
import shutil

import numpy as np
import pytest
from disturbed import hashes, small_study, study
from small_runs import small_spec, stopped_after

from noisybench.execute.mend import mend
from noisybench.execute.work import Session
from noisybench.store import Store, damage
from noisybench.train import checkpoint, kept, origin, trainer

FLIPS = 4
NPZ = {"name": "npz", "train_subset": None, "test_subset": None, "validation": 0.0, "subset_seed": 0}


def flip(data: bytes, rng: random.Random) -> bytes:
    """One bit of one letter or digit (of any byte, in a binary file) is another."""
    text = all(byte < 128 for byte in data)
    places = [i for i, byte in enumerate(data) if not text or chr(byte).isalnum()]
    place = rng.choice(places)
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(7))]) + data[place + 1 :]


def damages(data: bytes, seed: int):
    """Ways in which a file is damaged."""
    rng = random.Random(seed)
    yield "empty", b""
    yield "truncated", data[: len(data) // 2]
    yield "its last byte is missing", data[:-2]
    yield "foreign", b"\x89PNG\r\n" + bytes(200)
    for number in range(FLIPS):
        yield f"bit flip {number}", flip(data, rng)


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """A settled teacher and its student, with every file that a run may leave."""
    root = tmp_path_factory.mktemp("settled")
    runs = small_study(**{"training.epochs": 2, "training.detection": True})[::2]
    study(Session(root / "study", root / "data", None), runs)
    return Store(root / "study"), runs


REDONE = ("record.json", "predictions.npz", "scores.npz", "model.pt")
MENDED = ("curves.npz", "correct.npz", "spec.json")
UNCHECKED = ("epochs.jsonl", "run.log")


def test_a_settled_run_leaves_no_file_that_is_not_damaged_here(settled):
    whole, runs = settled
    for spec in runs:
        assert {path.name for path in whole.folder(spec.run_id).iterdir()} == {*REDONE, *MENDED, *UNCHECKED}


@pytest.mark.parametrize("name", [*REDONE, *MENDED, *UNCHECKED])
def test_any_damage_to_a_file_of_a_settled_run_is_found_and_made_good(settled, tmp_path, name):
    whole, runs = settled
    expected, teacher = hashes(whole, runs), runs[0]
    for number, (how, damaged) in enumerate(damages((whole.folder(teacher.run_id) / name).read_bytes(), seed=3)):
        session = Session(tmp_path / f"{number}", tmp_path / "data", None)
        shutil.copytree(whole.root, session.root)
        path = session.store.folder(teacher.run_id) / name
        path.write_bytes(damaged)
        trained = []
        outcome, standing = study(
            session, runs, observe=lambda event, to=trained: to.append(event["run_id"]) if "epoch" in event else None
        )
        assert outcome.exit_code == 0, how
        assert hashes(session.store, runs) == expected, how
        assert runs[1].run_id not in trained, "the student's teacher came out the same"
        aside = path.with_name(f"{name}.corrupt")
        if aside.exists():
            assert aside.read_bytes() == damaged
            assert any(str(path) in note and aside.name in note for note in standing.notes), how
            assert (teacher.run_id in trained) == (name in REDONE)
        else:  # views and logs are not checked; nor are bytes of a zip that say nothing about its content
            assert name in UNCHECKED or (name.endswith(".npz") and "bit flip" in how), how
            assert trained == []
        if name in MENDED and aside.exists():
            assert path.read_bytes() == (whole.folder(teacher.run_id) / name).read_bytes(), how


@pytest.mark.parametrize("names", [("correct.npz",), ("curves.npz",), MENDED])
def test_missing_files_that_others_say_again_are_made_again_without_training(settled, tmp_path, names):
    whole, runs = settled
    session = Session(tmp_path / "study", tmp_path / "data", None)
    shutil.copytree(whole.root, session.root)
    for spec in runs:
        for name in names:
            (session.store.folder(spec.run_id) / name).unlink()
    events = []
    study(session, runs, observe=events.append)
    assert events == []
    for spec in runs:
        for name in names:
            made = session.store.folder(spec.run_id) / name
            assert made.read_bytes() == (whole.folder(spec.run_id) / name).read_bytes()


@pytest.mark.parametrize(
    ("lost", "needed", "other_rows"),
    [
        ("curves.npz", "epochs.jsonl", True),
        ("curves.npz", "epochs.jsonl", False),
        ("correct.npz", "predictions.npz", False),
    ],
)
def test_a_file_that_cannot_be_made_again_from_what_is_left_is_trained_for(settled, tmp_path, lost, needed, other_rows):
    whole, runs = settled
    session = Session(tmp_path / "study", tmp_path / "data", None)
    shutil.copytree(whole.root, session.root)
    home = session.store.folder(runs[0].run_id)
    (home / lost).unlink()
    if other_rows:
        rows = (home / needed).read_text()
        (home / needed).write_text(rows.replace('"train_loss": ', '"train_loss": 1'))
    else:
        (home / needed).unlink()
    events = []
    outcome, standing = study(session, runs, observe=events.append)
    assert outcome.exit_code == 0
    assert hashes(session.store, runs) == hashes(whole, runs)
    assert {event["run_id"] for event in events} == {runs[0].run_id}
    assert any(f"{lost}: missing" in note and "redone" in note for note in standing.notes)
    assert (home / lost).read_bytes() == (whole.folder(runs[0].run_id) / lost).read_bytes()


@pytest.mark.parametrize("what", ["folder", "pipe", "link to itself"])
@pytest.mark.parametrize("name", [*REDONE, *MENDED])
def test_what_is_no_file_where_a_file_should_be_is_set_aside(settled, tmp_path, name, what):
    whole, runs = settled
    session = Session(tmp_path / "study", tmp_path / "data", None)
    shutil.copytree(whole.root, session.root)
    path = session.store.folder(runs[0].run_id) / name
    path.unlink()
    if what == "folder":
        path.mkdir()
        (path / "mine").write_text("of somebody")
    elif what == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no named pipes")
        os.mkfifo(path)
    else:
        path.symlink_to(name)
    outcome, _ = study(session, runs)
    assert outcome.exit_code == 0
    assert path.is_file() or (name, what) == ("model.pt", "link to itself"), "weights may be missing, others not"
    assert hashes(session.store, runs) == hashes(whole, runs)
    assert what != "folder" or (path.with_name(f"{name}.corrupt") / "mine").read_text() == "of somebody"


def test_what_others_left_in_a_store_is_left_alone(settled, tmp_path):
    whole, runs = settled
    session = Session(tmp_path / "study", tmp_path / "data", None)
    shutil.copytree(whole.root, session.root)
    home = session.store.folder(runs[0].run_id)
    foreign = [
        home / "notes.bin",
        home / ".hidden",
        session.root / "notes\nof somebody",
        session.root / "x" / "record.json",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x00of somebody")
    away = tmp_path / "away"
    away.mkdir()
    (session.root / "linked").symlink_to(away)
    (session.root / "dangling").symlink_to(tmp_path / "nowhere")
    outcome, standing = study(session, runs)
    assert (outcome.exit_code, standing.todo, standing.notes) == (0, [], [])
    found = {run_id: problem for run_id, record, problem in session.store.records() if record is None}
    assert list(found) == ["x"]
    assert [path.read_bytes() for path in foreign] == [b"\x00of somebody"] * 4
    assert list(away.iterdir()) == []


def test_a_file_where_a_runs_folder_should_be_is_named(settled, tmp_path):
    session, spec = Session(tmp_path / "study", tmp_path / "data", None), settled[1][0]
    session.root.mkdir()
    home = session.store.folder(spec.run_id)
    home.write_text("of somebody")
    outcome, _ = study(session, [spec])
    assert f"{home} is not a folder" in outcome.broken
    assert home.read_text() == "of somebody"
    home.unlink()
    assert study(session, [spec])[0].exit_code == 0


def test_without_the_data_it_was_made_from_nothing_is_made_again(tmp_path):
    rng = np.random.default_rng(0)

    def write(path):
        images = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
        labels = rng.permutation(np.arange(60) % 3)
        np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)

    spec = small_spec({"dataset": NPZ | {"path": str(tmp_path / "mine.npz")}, "training.epochs": 1})
    session = Session(tmp_path / "study", tmp_path / "data", None)
    write(tmp_path / "mine.npz")
    study(session, [spec])
    home = session.store.folder(spec.run_id)
    record, path = session.store.read_record(spec.run_id), home / "correct.npz"
    path.unlink()
    write(tmp_path / "mine.npz")
    kept._own.clear()
    damaged = damage(home, record)
    assert mend(session.store, home, record, damaged, session.folder) == []
    assert list(damaged) == [path]
    assert not path.exists()


@pytest.mark.parametrize("name", [checkpoint.NAME, checkpoint.PREVIOUS, "both", "spec.json", origin.FILE, *UNCHECKED])
def test_any_damage_to_a_file_of_an_unfinished_run_is_found_and_made_good(tmp_path, name, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "CHECKPOINT_COST", 0.0)
    spec = small_spec({"training.epochs": 4})
    whole = Session(tmp_path / "whole", tmp_path / "data", None)
    study(whole, [spec])
    before = Session(tmp_path / "before", tmp_path / "data", None)
    stopped_after(spec, before.store, before.folder, 3)
    home = before.store.folder(spec.run_id)
    (home / "run.log").write_text("a line\n")
    names = (checkpoint.NAME, checkpoint.PREVIOUS) if name == "both" else (name,)
    resumed = {checkpoint.NAME: 2, "both": 0}.get(name, 3)
    for number, (how, damaged) in enumerate(damages((home / names[0]).read_bytes(), seed=4)):
        session = Session(tmp_path / f"{number}", tmp_path / "data", None)
        shutil.copytree(before.root, session.root)
        for each in names:
            (session.store.folder(spec.run_id) / each).write_bytes(damaged)
        events = []
        outcome, _ = study(session, [spec], observe=events.append)
        assert outcome.exit_code == 0, how
        assert hashes(session.store, [spec]) == hashes(whole.store, [spec]), how
        assert [event["epoch"] for event in events if event["type"] == "epoch"] == list(range(resumed + 1, 5)), how
        told = " ".join(event["text"] for event in events if event["type"] == "log")
        for each in names:
            path = session.store.folder(spec.run_id) / each
            if each in ("spec.json", checkpoint.NAME) or name == "both":
                assert path.with_name(f"{each}.corrupt").read_bytes() == damaged
                assert str(path) in told


def test_a_checkpoint_that_this_torch_cannot_read_is_named_in_one_line_and_set_aside(tmp_path, session, monkeypatch):
    spec = small_spec()
    stopped_after(spec, session.store, session.folder, 1)
    home = session.store.folder(spec.run_id)
    monkeypatch.setattr(checkpoint.torch, "save", lambda state, buffer: buffer.write(b"of another version"))
    checkpoint.save(home, {})
    (home / checkpoint.PREVIOUS).unlink()
    monkeypatch.undo()
    events = []
    study(session, [spec], observe=events.append)
    (text,) = [event["text"] for event in events if event["type"] == "log"]
    assert "checkpoint.pt: cannot be read" in text
    assert len(text.splitlines()) == 1
    assert session.store.read_record(spec.run_id)["result"]["status"] == "finished"


def test_a_state_that_could_not_be_read_back_is_told_at_the_first_checkpoint(session, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer.Run, "state", lambda run: {"version": checkpoint.torch.__version__})
    spec = small_spec()
    outcome, _ = study(session, [spec])
    assert outcome.counts["failed"] == 1
    assert "TorchVersion" in outcome.failures[spec.run_id]
    assert "plain values only" in outcome.failures[spec.run_id]


def test_what_a_killed_writer_left_is_swept_and_what_is_being_written_is_not(store):
    (store.root / ".locks").mkdir(parents=True)
    old = [store.root / ".report.md.0a.tmp", store.root / ".locks" / ".now.0a.tmp"]
    new, other = store.root / ".report.csv.0b.tmp", store.root / "mine.tmp"
    for path in [*old, new, other]:
        path.write_text("half")
    for path in [*old, other]:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
    store.sound_plan(change=False)
    assert all(path.exists() for path in [*old, new, other])
    store.sound_plan(change=True)
    assert [path.exists() for path in [*old, new, other]] == [False, False, True, True]


@pytest.mark.parametrize("content", [b"", b"{", b'{"sha256": "0"}', bytes(50)])
def test_a_damaged_plan_is_set_aside_and_made_again(store, content):
    store.root.mkdir(parents=True)
    store.plan_path.write_bytes(content)
    assert store.sound_plan(change=False)[0] is None
    assert store.plan_path.read_bytes() == content
    plan, problem = store.sound_plan(change=True)
    assert plan is None
    assert str(store.plan_path) in problem
    assert "plan.json.corrupt" in problem
    assert (store.root / "plan.json.corrupt").read_bytes() == content
