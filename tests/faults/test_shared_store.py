"""Several commands on one store: no run twice, no damaged line, and a dead process holds nothing."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
from disturbed import hashes, leftovers, small_study, study
from small_runs import small_spec

from noisybench import locks
from noisybench.errors import StoreError
from noisybench.execute import running
from noisybench.execute.work import Session, execute
from noisybench.locks import Lease, LeaseLost, LeaseTimes
from noisybench.store import Store, read_json

SUITE = """
name: shared
version: 1
dataset: {name: digits, train_subset: 300, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 32}
training: {epochs: 6, batch_size: 50}
seeds: 4
methods:
  SGD: {}
  Student: {relabel: SGD}
"""
ELSEWHERE = {"token": "other", "place": ["another-host"], "pid": 1, "born": "1", "renewed": "000000000000"}


@pytest.mark.parametrize("kind", ["locks", "leases"])
def test_four_commands_share_the_work(tmp_path, kind):
    (tmp_path / "shared.yaml").write_text(SUITE)
    store = Store(tmp_path / "runs" / "shared")
    if kind == "leases":
        (store.root / ".locks").mkdir(parents=True)
        (store.root / ".locks" / locks.MARKER).write_text(json.dumps({"renew": 1.0, "void": 600.0}))
    command = [sys.executable, "-m", "noisybench", "run", "shared.yaml", "--workers", "0"]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, **options) for _ in range(4)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert read_json(store.plan_path)["suite"] == "shared"
    records = list(store.records())
    assert len(records) == 8
    for run_id, record, problem in records:
        assert problem is None
        assert record["result"]["status"] == "finished"
        assert record["provenance"]["resumes"] == 0
        rows = [json.loads(line) for line in (store.folder(run_id) / "epochs.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
        log = (store.folder(run_id) / "run.log").read_text().splitlines()
        assert [line.split()[1] for line in log] == ["epoch"] * 6 + ["settled:"], "trained once"
    assert not leftovers(store.root)
    assert not list(store.root.rglob("*.lease"))


# -- leases ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.lease"


def test_a_lease_that_is_renewed_keeps_others_out(path):
    times = LeaseTimes(renew=0.05, void=2.0)
    with Lease(path, times):
        content = path.read_bytes()
        while path.read_bytes() in (content, b""):
            time.sleep(0.02)
        assert len(path.read_bytes()) == len(content)
        with pytest.raises(filelock.Timeout):
            Lease(path, times).acquire(timeout=0)
    assert not path.exists()
    Lease(path, times).acquire(timeout=0).release()


def test_leases_last_five_minutes_and_are_renewed_every_thirty_seconds():
    assert LeaseTimes() == LeaseTimes(renew=30.0, void=300.0)


@pytest.mark.parametrize("content", [json.dumps(ELSEWHERE), "", "{", "[]"])
def test_a_lease_of_another_machine_is_void_when_nobody_renews_it(path, content):
    path.write_text(content)
    with pytest.raises(filelock.Timeout):
        Lease(path, LeaseTimes()).acquire(timeout=0)
    old = path.stat().st_mtime - 301
    os.utime(path, (old, old))
    Lease(path, LeaseTimes()).acquire(timeout=0).release()


def test_a_clock_that_was_set_back_does_not_keep_a_dead_lease_alive(path):
    path.write_text(json.dumps(ELSEWHERE))
    tomorrow = path.stat().st_mtime + 86_400
    os.utime(path, (tomorrow, tomorrow))
    Lease(path, LeaseTimes(renew=0.05, void=0.3)).acquire(timeout=60).release()


def hold(path):
    Lease(path, LeaseTimes()).acquire()
    os._exit(9)


def test_the_lease_of_a_dead_process_of_this_machine_is_void_at_once(path):
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert path.exists()
    Lease(path, LeaseTimes()).acquire(timeout=0).release()


def test_a_process_number_that_was_given_to_another_process_is_no_holder(path):
    mine = json.loads(locks._content("other", 0))
    path.write_text(json.dumps(mine | {"born": "1"}))
    if not mine["born"]:
        pytest.skip("this system does not tell when a process started")
    Lease(path, LeaseTimes()).acquire(timeout=0).release()


def test_a_lost_lease_is_noticed_and_not_given_back(path):
    lease = Lease(path, LeaseTimes()).acquire()
    lease.check()
    path.write_text(json.dumps(ELSEWHERE))
    with pytest.raises(LeaseLost, match="taken over"):
        lease.check()
    lease.release()
    assert path.exists(), "it belongs to another process"


def test_a_run_whose_lease_was_lost_stops_without_writing(store, tmp_path):
    session, spec = Session(store.root, tmp_path / "data", None, leases=LeaseTimes()), small_spec()
    store.root.mkdir(parents=True)
    home, events, kept = store.folder(spec.run_id), [], {}

    def lose(event):
        events.append(event)
        if event["type"] == "epoch" and event["epoch"] == 1:
            (store.root / ".locks" / f"{spec.run_id}.lease").write_text(json.dumps(ELSEWHERE))
            kept.update({path.name: path.read_bytes() for path in home.iterdir()})

    event = execute(session, spec, lose, lambda: None)
    assert event["type"] == "busy"
    assert [event.get("epoch") for event in events if event["type"] == "epoch"] == [1]
    assert "taken over" in events[-1]["text"]
    kept.pop(running.NAME)  # it takes back that it is here
    assert {path.name: path.read_bytes() for path in home.iterdir()} == kept


def frozen(session, data, run_id, connection):
    """In a process of its own: train, and stand still after the first epoch."""
    from noisybench.spec import RunSpec

    def stand_still(event):
        if event["type"] == "epoch" and event["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGSTOP)

    connection.send(execute(session, RunSpec(data, run_id), stand_still, lambda: None)["type"])


def test_a_process_that_wakes_up_after_its_lease_ran_out_writes_nothing(fast_workers, store, tmp_path, undisturbed):
    whole, runs = undisturbed
    spec = runs[0]
    session = Session(store.root, tmp_path / "data", None, leases=LeaseTimes(renew=0.1, void=1.5))
    store.root.mkdir(parents=True)
    ours, theirs = fast_workers.Pipe()
    process = fast_workers.Process(target=frozen, args=(session, spec.data, spec.run_id, theirs))
    process.start()
    epochs = store.folder(spec.run_id) / "epochs.jsonl"
    while not epochs.exists() or not epochs.read_text().endswith("\n"):
        time.sleep(0.02)
    outcome, _ = study(session, [spec])  # waits for the lease to run out
    assert outcome.counts["finished"] == 1
    before = {path.name: path.read_bytes() for path in store.folder(spec.run_id).iterdir()}
    os.kill(process.pid, signal.SIGCONT)
    said = ours.recv()
    process.join()
    assert said == "busy"
    assert {path.name: path.read_bytes() for path in store.folder(spec.run_id).iterdir()} == before
    assert hashes(store, [spec]) == hashes(whole, [spec])


# -- which kind -----------------------------------------------------------------------------------------------------


def test_locks_are_used_where_they_work(tmp_path):
    assert locks.choose(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


class Open(filelock.FileLock):
    """A lock that keeps nobody out."""

    def _acquire(self) -> None:
        self._context.lock_file_fd = os.open(self.lock_file, os.O_RDWR | os.O_CREAT)

    def _release(self) -> None:
        os.close(self._context.lock_file_fd)
        self._context.lock_file_fd = None


class Absent:
    """The locks of a file system that has none."""

    def __init__(self, path: Path) -> None:
        pass

    def __enter__(self) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def __exit__(self, *details: object) -> None:
        pass


@pytest.mark.parametrize("lock", [Open, Absent])
def test_leases_are_used_where_locks_do_not_work_and_by_everybody_from_then_on(tmp_path, monkeypatch, lock):
    monkeypatch.setattr(locks, "FileLock", lock)
    monkeypatch.setattr(locks, "_keeps_out_another_process", lambda path: False)
    store = Store.open(tmp_path / "study")
    assert store.leases == LeaseTimes()
    monkeypatch.undo()
    assert Store.open(tmp_path / "study").leases == LeaseTimes()
    runs = small_study(**{"training.epochs": 1})[:1]
    session = Session(store.root, tmp_path / "data", None, leases=store.leases)
    assert study(session, runs)[0].exit_code == 0
    assert not list(store.root.rglob("*.lease"))


def test_another_process_is_kept_out_by_a_lock(tmp_path):
    path = tmp_path / "a.lock"
    with filelock.FileLock(path):
        assert locks._keeps_out_another_process(path)
    assert not locks._keeps_out_another_process(path)


def test_a_folder_in_which_no_lock_can_be_made_is_an_error_and_no_reason_for_leases(tmp_path, monkeypatch):
    class Full(Absent):
        def __enter__(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks, "FileLock", Full)
    with pytest.raises(StoreError, match="No space left"):
        locks.choose(tmp_path)
    assert list(tmp_path.iterdir()) == []
