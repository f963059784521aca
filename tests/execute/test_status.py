"""Where a study stands, from its files: running, stopped, failed, blocked, damaged, in jobs, and how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest
from small_runs import stopped_after
from typer.testing import CliRunner

from noisybench import locks
from noisybench.cli.app import app
from noisybench.cli.status import lines, summary
from noisybench.data import DataFolder
from noisybench.errors import InputError
from noisybench.execute.running import Presence, read, who_runs
from noisybench.execute.slurm.ledger import Ledger, Submission
from noisybench.execute.status import Reader, find_folders
from noisybench.execute.work import Session, execute
from noisybench.store import Store
from noisybench.suite import build_plan, load_suite

SUITE = """
name: study
version: 1
dataset: {name: digits, train_subset: 300, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 32}
training: {epochs: 3, batch_size: 50}
seeds: 2
methods:
  SGD: {}
  Student: {relabel: SGD}
  GCE: {loss: {name: gce}}
"""


class Study:
    """A planned study: runs by display name."""

    def __init__(self, root):
        (root / "study.yaml").write_text(SUITE)
        expansion = load_suite(str(root / "study.yaml")).expand()
        self.store = Store.open(root / "runs" / "study")
        self.store.write_plan(build_plan(expansion))
        specs = {spec.run_id: spec for spec in expansion.runs}
        self.runs = {
            f"{cell['variant']} {seed}": specs[run_id]
            for cell in expansion.cells
            for seed, run_id in cell["runs"].items()
        }
        self.session = Session(self.store.root, root / "data", None)
        self.reader = Reader(self.store.root)

    def train(self, *names):
        for name in names:
            assert execute(self.session, self.runs[name], lambda event: None, lambda: None)["type"] == "settled"

    def states(self, jobs=None):
        by_id = {run.run_id: run for run in self.reader.read(jobs).runs}
        return {name: by_id[spec.run_id] for name, spec in self.runs.items()}

    def fail(self, name):
        from noisybench.execute.work import settle_for

        settle_for(self.session, self.runs[name], "it was too much", "a traceback")


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def states_of(found):
    return {name: run.state for name, run in found.items()}


def test_every_state_is_told(study):
    assert set(states_of(study.states()).values()) == {"waiting"}
    study.train("SGD 0", "Student 0")
    study.fail("SGD 1")
    stopped_after(study.runs["GCE 0"], study.store, study.session.folder, 2)
    study.train("GCE 1")
    path = study.store.folder(study.runs["GCE 1"].run_id) / "record.json"
    path.write_bytes(path.read_bytes().replace(b'"finished"', b'"finisheb"'))
    found = study.states()
    assert states_of(found) == {
        "SGD 0": "finished",
        "SGD 1": "failed",
        "Student 0": "finished",
        "Student 1": "blocked",
        "GCE 0": "stopped",
        "GCE 1": "damaged",
    }
    assert found["SGD 1"].why == "it was too much"
    assert found["SGD 1"].log == study.store.folder(study.runs["SGD 1"].run_id) / "record.json"
    assert (found["GCE 0"].epoch, found["GCE 0"].epochs) == (2, 3)
    assert "checksum" in found["GCE 1"].why
    status = study.reader.read()
    assert (status.complete, status.exit_code) == (False, 1)
    told = "\n".join(lines(status))
    assert "6 runs: 2 finished, 1 failed, 1 blocked, 1 damaged, 1 stopped; about " in told
    assert "go on with the same run command. With --retry-failed, run trains failed runs again." in told
    assert "nothing is running: go on with the same run command." in told
    assert "stopped  GCE, symmetric 0.4, seed 0: goes on from its checkpoint after epoch 2 of 3" in told
    assert "damaged  GCE, symmetric 0.4, seed 1: record.json: damaged" in told


def test_a_record_that_has_not_changed_is_read_once(study, monkeypatch):
    study.train("SGD 0")
    study.states()
    monkeypatch.setattr(Store, "read_record", lambda *given: pytest.fail("read again"))
    assert study.states()["SGD 0"].state == "finished"


def test_a_running_run_is_seen_while_its_lock_is_left_alone(study):
    seen = []

    def look(event):
        if event["type"] == "epoch":
            seen.append((event["epoch"], study.states()["SGD 0"]))

    assert execute(study.session, study.runs["SGD 0"], look, lambda: None)["status"] == "finished"
    assert [(epoch, run.state, run.epoch, run.epochs) for epoch, run in seen] == [
        (1, "running", 1, 3),
        (2, "running", 2, 3),
        (3, "running", 3, 3),
    ]
    assert "process" in seen[0][1].where
    assert not list(study.store.root.glob("*/running.json")), "nobody trains it any more"


def test_a_view_whose_writer_is_dead_proves_nothing(study):
    run_id = study.runs["SGD 0"].run_id
    code = (
        "import sys, os, pathlib\nfrom noisybench.execute.running import Presence\nfrom noisybench.store import Store\n"
        "Presence(Store(pathlib.Path(sys.argv[1])), sys.argv[2], {}).__enter__()\nos._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(study.store.root), run_id])
    assert read(study.store.folder(run_id)) is not None
    assert study.states()["SGD 0"].state == "waiting"


@pytest.mark.parametrize("kind", ["locks", "leases"])
def test_a_view_from_another_machine_is_believed_while_the_lock_is_held(study, kind):
    run_id = study.runs["SGD 0"].run_id
    store = study.store
    if kind == "leases":
        (store.root / ".locks" / locks.MARKER).write_text(json.dumps({"renew": 30.0, "void": 300.0}))
        store = Store.open(store.root)
    with Presence(store, run_id, {"executor": "slurm", "job": "7_1", "node": "node3"}):
        path = store.folder(run_id) / "running.json"
        view = json.loads(path.read_text())
        view["holder"]["place"] = ["another-host"]
        path.write_text(json.dumps(view))
        assert who_runs(store, run_id) is None
        with store.lock(run_id).acquire(timeout=0):
            if kind == "leases":
                lease = store.root / ".locks" / f"{run_id}.lease"
                lease.write_text(json.dumps({**json.loads(lease.read_text()), "place": ["another-host"]}))
            found = study.states()["SGD 0"]
            assert found.state == "running"
            assert found.where == "node3, slurm job 7_1"
        if kind == "leases":
            lease.unlink(missing_ok=True)
        assert who_runs(store, run_id) is None


def test_the_lock_of_a_run_that_nobody_claims_is_not_touched(study, monkeypatch):
    monkeypatch.setattr(Store, "is_held", lambda *given: pytest.fail("its lock was tried"))
    study.train("SGD 0")
    with Presence(study.store, study.runs["SGD 1"].run_id, {}):  # by a process of this machine: the system is asked
        assert states_of(study.states())["SGD 1"] == "running"


def test_jobs_are_named_and_so_is_one_that_is_gone(study):
    ids = {name: spec.run_id for name, spec in study.runs.items()}
    ledger = Ledger(study.store.root)
    ledger.write(
        Submission(
            "noisybench-study-20260101-000000-aaaaaa",
            time.time(),
            ((ids["SGD 0"], ids["Student 0"]), (ids["GCE 0"],)),
            "5",
        )
    )
    (ledger.folder / "broken.json").write_text("{")
    status = study.reader.read({"5_0": "PENDING"})
    told = lines(status)
    assert told[0].startswith("study (")
    assert "2 queued, 4 waiting." in told[0]
    assert told[1] == "  queued   2 runs in 1 jobs: 5_0 pending"
    assert told[2].endswith(
        "GCE, symmetric 0.4, seed 0: slurm job 5_1 is gone; run the same command again to submit it anew"
    )
    assert told[3].endswith("broken.json: not readable as JSON")
    assert study.states(None)["SGD 0"].why == "it was submitted in slurm job 5_0; Slurm cannot be asked from here"


def test_the_time_left_comes_from_the_pace_of_the_store(study):
    assert study.reader.read().left is None
    study.train("SGD 0")
    record = study.store.read_record(study.runs["SGD 0"].run_id)
    record["provenance"]["seconds"]["total"] = 30.0
    study.store.write_record(record["run_id"], record["result"], record["provenance"])
    assert study.reader.read().left == pytest.approx(5 * 30.0)
    with Presence(study.store, study.runs["SGD 1"].run_id, {}), Presence(study.store, study.runs["GCE 1"].run_id, {}):
        assert study.reader.read().left == pytest.approx(5 * 30.0 / 2)


def test_the_first_runs_tell_their_pace_themselves(study):
    run_id = study.runs["SGD 0"].run_id
    with Presence(study.store, run_id, {}):
        home = study.store.folder(run_id)
        home.joinpath("epochs.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
        home.joinpath("run.log").write_text("2026-01-01T00:00:00 epoch 1/3 x\n2026-01-01T00:00:20 epoch 2/3 x\n")
        assert study.reader.read().left == pytest.approx(20.0 * (1 + 5 * 3))


def test_a_watched_study_is_told_until_it_is_complete(study):
    study.train("SGD 0", "SGD 1", "Student 0", "Student 1", "GCE 0")
    folder = str(study.store.root)
    thread = threading.Timer(0.3, study.train, ("GCE 1",))
    thread.start()
    done = CliRunner().invoke(app, ["status", folder, "--watch", "--every", "0.1"])
    thread.join()
    assert done.exit_code == 0
    assert done.output.splitlines()[0].startswith(f"study ({folder}): 6 runs: 5 finished, 1 ")
    assert done.output.splitlines()[-1] == f"study ({folder}): 6 runs: 6 finished."


def test_several_folders_and_a_folder_of_folders(study, tmp_path):
    assert find_folders([tmp_path / "runs", study.store.root]) == [study.store.root]
    with pytest.raises(InputError, match=r"no plan\.json in it or below it"):
        find_folders([tmp_path / "runs" / "study" / ".locks"])
    with pytest.raises(InputError, match="no such folder"):
        find_folders([tmp_path / "nowhere"])
    study.fail("SGD 1")
    done = CliRunner().invoke(app, ["status", str(tmp_path / "runs")])
    assert done.exit_code == 1
    assert "failed   SGD, symmetric 0.4, seed 1: it was too much; see " in done.output


def test_a_checkpoint_says_how_many_epochs_it_holds(study):
    from noisybench.train.checkpoint import epochs_done, load

    spec = study.runs["SGD 0"]
    home = study.store.folder(spec.run_id)
    assert epochs_done(home) is None
    stopped_after(spec, study.store, DataFolder(study.session.data_dir, None), 1)
    assert epochs_done(home) == 1
    assert len(load(home, device="cpu")[0]["progress"]["rows"]) == 1
    path = home / "checkpoint.pt"
    head, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(head.rpartition(b" ")[0] + b"\n" + body)  # as older versions wrote it
    assert epochs_done(home) is None
    assert load(home, device="cpu")[0] is not None
    assert study.states()["SGD 0"].state == "stopped"


def test_a_summary_of_nothing_left_is_short(study):
    study.train(*study.runs)
    assert summary(study.reader.read()).endswith("6 runs: 6 finished.")
