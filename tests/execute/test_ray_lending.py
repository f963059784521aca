"""Runs that are trained where the store cannot be seen: their files, their locks. Without Ray."""

from __future__ import annotations

import dataclasses

import pytest
from small_runs import small_spec, stopped_after

from noisybench.data import DataFolder
from noisybench.errors import StoreError
from noisybench.execute.ray.lending import GRANTED, Lent
from noisybench.execute.ray.packing import opened, pack, pack_results, sealed, unpack
from noisybench.execute.running import read
from noisybench.execute.work import Session, execute
from noisybench.store import Store
from noisybench.train import checkpoint
from noisybench.train.trainer import train

SPEC = small_spec()


def say(event):
    """Nobody listens."""


@pytest.fixture
def session(store, tmp_path):
    store.root.mkdir(parents=True)
    return Session(store.root, tmp_path / "data", None, place={"executor": "ray", "node": "far/away", "task": "7"})


@pytest.fixture
def node(tmp_path, session) -> Session:
    """The same session as a node has it: another store."""
    return dataclasses.replace(session, root=tmp_path / "node" / "study")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What a finished run leaves."""
    folder = tmp_path_factory.mktemp("results")
    store = Store(folder / "study")
    train(SPEC, store, DataFolder(folder / "data"))
    return pack_results(store.folder(SPEC.run_id))


@pytest.fixture(scope="module")
def halfway(tmp_path_factory):
    """What a run leaves that was stopped after two epochs."""
    folder = tmp_path_factory.mktemp("halfway")
    store = Store(folder / "study")
    stopped_after(SPEC, store, DataFolder(folder / "data"), 2)
    return pack(store.folder(SPEC.run_id), (checkpoint.NAME, "made_from.json"))


# -- files ----------------------------------------------------------------------------------------------------------


def test_results_are_all_a_run_leaves_but_views(results):
    assert sorted(results) == [
        "correct.npz",
        "curves.npz",
        "epochs.jsonl",
        "model.pt",
        "predictions.npz",
        "record.json",
        "spec.json",
    ]


@pytest.mark.parametrize("name", ["../outside", "a/b", ".hidden", ""])
def test_a_file_cannot_leave_the_run_s_folder(tmp_path, name):
    with pytest.raises(ValueError, match="no name of a file"):
        unpack({name: sealed(b"x")}, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_nothing_is_written_of_files_that_were_damaged_on_their_way(tmp_path):
    with pytest.raises(ValueError, match=r"b\.npz was damaged"):
        unpack({"a.npz": sealed(b"a"), "b.npz": (sealed(b"b")[0], sealed(b"c")[1])}, tmp_path / "home")
    assert not (tmp_path / "home").exists()


# -- a lent run -----------------------------------------------------------------------------------------------------


def test_a_lent_run_is_locked_here_shown_and_settled_with_what_was_sent(session, results):
    lent = Lent(session, SPEC)
    assert lent.ask(say) == ({"run_id": SPEC.run_id, "type": GRANTED}, {})
    home = session.store.folder(SPEC.run_id)
    assert session.store.is_held(SPEC.run_id)
    assert read(home).where.startswith("far/away, ray")
    second = Lent(session, SPEC)
    assert second.ask(say)[0]["type"] == "busy"
    second.close()
    lent.hear({"type": "log", "run_id": SPEC.run_id, "text": "said there"}, say)
    assert "said there" in (home / "run.log").read_text()
    event = lent.settle(results)
    lent.close()
    assert (event["type"], event["status"]) == ("settled", "finished")
    assert session.store.read_record(SPEC.run_id)["run_id"] == SPEC.run_id
    assert not session.store.is_held(SPEC.run_id)
    assert Lent(session, SPEC).ask(say)[0]["type"] == "settled"
    assert execute(session, SPEC, say, lambda: None)["type"] == "settled"


def test_what_is_sent_for_another_run_or_not_whole_settles_nothing(session, results):
    other = small_spec({"seed": 1})
    lent = Lent(session, other)
    lent.ask(say)
    with pytest.raises(ValueError, match="does not describe this run"):
        lent.settle(results)
    lent.close()
    lent = Lent(session, SPEC)
    lent.ask(say)
    with pytest.raises(ValueError, match=r"record\.json is missing"):
        lent.settle({name: file for name, file in results.items() if name != "record.json"})
    swapped = {**results, "curves.npz": results["predictions.npz"]}
    with pytest.raises(ValueError, match=r"curves\.npz: not the file its record names"):
        lent.settle(swapped)
    assert session.store.read_record(SPEC.run_id) is None
    assert lent.settle(results)["status"] == "finished"
    lent.close()


def test_a_checkpoint_goes_to_the_store_and_from_there_to_another_node(session, node, results, halfway):
    lent = Lent(session, SPEC)
    lent.ask(say)
    lent.keep(halfway)
    lent.close()  # as if its node were gone
    home = session.store.folder(SPEC.run_id)
    assert checkpoint.epochs_done(home) == 2
    again = Lent(session, SPEC)
    _, luggage = again.ask(say)
    for run_id, packed in luggage.items():
        unpack(packed, node.store.folder(run_id))
    texts = []
    event = execute(node, SPEC, lambda event: texts.append(event.get("text")), lambda: None)
    assert event["status"] == "finished"
    assert "resumed after epoch 2 of 3" in texts
    again.settle(pack_results(node.store.folder(SPEC.run_id)))
    again.close()
    assert not list(home.glob("checkpoint*"))
    assert not (home / "made_from.json").exists()
    whole = opened(results)["record.json"]
    assert session.store.read_record(SPEC.run_id)["result_sha256"].encode() in whole


def test_a_checkpoint_that_is_not_whole_is_not_kept(session, halfway):
    lent = Lent(session, SPEC)
    lent.ask(say)
    data = opened(halfway)[checkpoint.NAME]
    with pytest.raises(ValueError, match="checksum does not match"):
        lent.keep({checkpoint.NAME: sealed(data[:-1] + bytes([data[-1] ^ 1]))})
    assert checkpoint.newest(session.store.folder(SPEC.run_id)) == (None, [])
    lent.keep(halfway)
    (session.store.folder(SPEC.run_id) / checkpoint.NAME).write_bytes(data[:-5])
    lent.close()
    said = []
    assert Lent(session, SPEC).ask(said.append)[1] == {}, "there is no other one"
    assert "set aside as checkpoint.pt.corrupt" in said[0]["text"]


def test_a_student_gets_its_teacher_s_predictions(session, node, results):
    unpack(results, session.store.folder(SPEC.run_id))
    student = small_spec({"method.relabel": SPEC.run_id})
    lent = Lent(session, student)
    _, luggage = lent.ask(say)
    assert {run_id: sorted(packed) for run_id, packed in luggage.items()} == {
        SPEC.run_id: ["predictions.npz", "record.json"]
    }
    unpack(luggage[SPEC.run_id], node.store.folder(SPEC.run_id))
    assert execute(node, student, say, lambda: None)["status"] == "finished"
    lent.close()


def test_the_view_of_epochs_follows_a_run_that_goes_back(session):
    lent = Lent(session, SPEC)
    lent.ask(say)
    row = {"type": "epoch", "run_id": SPEC.run_id, "epochs": 9, "train_loss": 1.0, "test_accuracy": 50.0}
    for epoch in (1, 2, 3, 4, 3):
        lent.hear({**row, "epoch": epoch}, say)
    lines = (session.store.folder(SPEC.run_id) / "epochs.jsonl").read_text().splitlines()
    assert [text.partition('"epoch": ')[2][0] for text in lines] == ["1", "2", "3"]
    lent.close()


def test_a_store_that_vanished_is_not_made_again(session, halfway):
    lent = Lent(session, SPEC)
    lent.ask(say)
    session.root.rename(session.root.with_name("moved"))
    with pytest.raises(StoreError, match="vanished"):
        lent.keep(halfway)
    lent.close()
    assert not session.root.exists()
