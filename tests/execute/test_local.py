"""Many runs: the queue, worker processes, what a death costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_spec

from noisybench.execute.executor import Stop
from noisybench.execute.local import Local, run_here
from noisybench.execute.queue import Queue
from noisybench.execute.study import Outcome, run_study, take_stock
from noisybench.execute.work import Session
from noisybench.methods.task import Numerics
from noisybench.spec import RunSpec
from noisybench.store import Store, write_arrays
from noisybench.train.setup import gather, make_task, make_truth


@pytest.fixture
def session(store, tmp_path):
    return Session(store.root, tmp_path / "data", None)


def teacher_and_student(**changes):
    teacher = small_spec(changes)
    return [teacher, small_spec({**changes, "method.relabel": teacher.run_id})]


def train_all(session, runs, workers=0, **options):
    events = []
    standing = take_stock(session.store, runs, {}, **options)
    outcome = run_study(session, runs, standing, events.append, Stop(), Local(workers))
    return outcome, events, standing


def hashes(store, runs):
    return [store.read_record(spec.run_id)["result_sha256"] for spec in runs]


def test_a_student_waits_for_its_teacher_and_is_blocked_by_a_failed_one():
    a, b = RunSpec({"method": {"relabel": None}}, "a"), RunSpec({"method": {"relabel": "a"}}, "b")
    c = RunSpec({"method": {"relabel": "b"}}, "c")
    queue = Queue([c, b, a], set())
    assert queue.next() is a
    assert queue.next() is None
    queue.settle("a", "finished", "")
    assert queue.next() is b
    assert Queue([c, b], set()).settle("a", "failed", "boom") == ["b", "c"]


def test_settled_runs_are_skipped(session):
    runs = teacher_and_student()
    outcome, _, _ = train_all(session, runs)
    assert outcome.exit_code == 0
    assert outcome.counts["finished"] == 2
    before = hashes(session.store, runs)
    outcome, events, standing = train_all(session, runs)
    assert (standing.todo, events) == ([], [])
    assert outcome.counts["finished"] == 2
    assert hashes(session.store, runs) == before


def test_workers_do_not_change_a_result(session, tmp_path):
    runs = [small_spec({"seed": seed}) for seed in range(3)]
    train_all(session, runs)
    other = Session(tmp_path / "other", session.data_dir, None)
    outcome, events, _ = train_all(other, runs, workers=2)
    assert outcome.exit_code == 0
    assert hashes(other.store, runs) == hashes(session.store, runs)
    assert sum(event["type"] == "epoch" for event in events) == 9


def test_a_run_that_raises_costs_itself_and_its_students(session):
    bad = small_spec({"model.width": 10**12})  # more memory than there is
    student = small_spec({"model.width": 10**12, "method.relabel": bad.run_id})
    good = small_spec()
    outcome, _, _ = train_all(session, [bad, student, good])
    assert outcome.exit_code == 1
    assert outcome.counts == {"finished": 1, "diverged": 0, "failed": 1, "blocked": 1}
    record = session.store.read_record(bad.run_id)
    assert record["result"]["status"] == "failed"
    assert record["provenance"]["traceback"]
    assert session.store.read_record(student.run_id) is None
    standing = take_stock(session.store, [bad, student, good], {})
    assert list(standing.blocked) == [student.run_id]
    again = take_stock(session.store, [bad, student, good], {}, retry_failed=True)
    assert [spec.run_id for spec in again.todo] == [bad.run_id, student.run_id]
    assert (session.store.folder(bad.run_id) / "record.json.old").exists()


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_teacher_without_predictions_is_redone_and_its_student_kept(session, damage):
    runs = teacher_and_student()
    train_all(session, runs)
    before = hashes(session.store, runs)
    path = session.store.folder(runs[0].run_id) / "predictions.npz"
    path.unlink() if damage == "missing" else path.write_bytes(b"x")
    outcome, events, standing = train_all(session, runs)
    assert [spec.run_id for spec in standing.todo] == [runs[0].run_id]
    assert hashes(session.store, runs) == before
    assert outcome.counts["finished"] == 2
    assert {event["run_id"] for event in events} == {runs[0].run_id}


def test_a_student_is_redone_when_its_teachers_predictions_changed(session):
    runs = teacher_and_student()
    train_all(session, runs)
    labels, _ = session.store.predictions(runs[0].run_id)
    other = {"train": (labels + 1) % 10, "test": labels}
    content = write_arrays(session.store.folder(runs[0].run_id) / "predictions.npz", other)
    record = session.store.read_record(runs[0].run_id)
    record["provenance"]["files"]["predictions.npz"] = content
    session.store.write_record(runs[0].run_id, record["result"], record["provenance"])
    standing = take_stock(session.store, runs, {})
    assert [spec.run_id for spec in standing.todo] == [runs[1].run_id]


@pytest.mark.parametrize("asked", ["at the end of the first round", "in the second round"])
def test_a_student_that_is_left_to_be_redone_is_not_counted_as_finished(session, asked):
    """Somebody asks to stop after a redone teacher has got other predictions than its student was trained on."""
    runs = teacher_and_student()
    train_all(session, runs)
    teacher, student = (spec.run_id for spec in runs)
    (session.store.folder(teacher) / "predictions.npz").unlink()
    standing, stop, rounds = take_stock(session.store, runs, {}), Stop(), []

    class Otherwise:
        parallel = 1

        def work(self, session, queue, observe, stop):
            rounds.append([spec.run_id for spec in queue.waiting])
            if len(rounds) == 1:
                kept = session.store.folder(teacher) / "record.json.old"
                record = json.loads(kept.read_text())
                labels = np.zeros(300, dtype=np.uint8)
                content = write_arrays(kept.with_name("predictions.npz"), {"train": labels, "test": labels[:100]})
                files = record["provenance"]["files"] | {"predictions.npz": content}
                session.store.write_record(teacher, record["result"], record["provenance"] | {"files": files})
                observe({"type": "settled", "run_id": teacher, "status": "finished"})
            if len(rounds) == 2 or asked == "at the end of the first round":
                stop.request()

    outcome = run_study(session, runs, standing, lambda event: None, stop, Otherwise())
    assert rounds == ([[teacher]] if asked == "at the end of the first round" else [[teacher], [student]])
    assert outcome.counts["finished"] == 1
    assert outcome.interrupted
    assert outcome.exit_code == 130


def test_an_interrupt_is_no_stop_at_an_older_failure(session):
    runs = [small_spec({"method.loss": {"name": "gce", "q": 0.7}, "seed": seed}) for seed in range(2)]
    session.store.folder(runs[0].run_id).mkdir(parents=True)
    session.store.write_record(runs[0].run_id, {"status": "failed", "data": None, "noise": None}, {"error": "long ago"})
    stop = Stop()
    stop.request()
    standing = take_stock(session.store, runs, {})
    outcome = run_study(session, runs, standing, lambda event: None, stop, Local(0), fail_fast=True)
    assert (outcome.interrupted, outcome.exit_code) == (True, 130)


def test_algorithms_cannot_reach_what_they_are_judged_by(session):
    """In place, on a CPU, where nothing is copied on its way to the device."""
    spec = small_spec()
    materials = gather(spec.data, session.folder, session.store)
    task = make_task(materials, Numerics("cpu", "fp32", False, 1, False), lambda: None)
    truth, _ = make_truth(materials, task.device)
    before = truth.noisy.clone(), truth.clean.clone(), materials.noise.labels.copy()
    task.labels.fill_(0)
    task._oracle().clean_labels.fill_(0)
    assert torch.equal(truth.noisy, before[0])
    assert torch.equal(truth.clean, before[1])
    assert (materials.noise.labels == before[2]).all()
    assert gather(spec.data, session.folder, session.store).noise.labels.any()


def test_other_data_under_the_same_name_stops_everything(session):
    from noisybench.errors import StaleData
    from noisybench.spec import canonical_json

    runs = [small_spec()]
    train_all(session, runs)
    other = {canonical_json(runs[0].data["dataset"]): "f" * 64}
    with pytest.raises(StaleData, match="--replace-stale"):
        take_stock(session.store, runs, other)
    standing = take_stock(session.store, runs, other, replace_stale=True)
    assert standing.todo == runs
    assert (session.store.root / f"{runs[0].run_id}.stale").is_dir()


def test_a_failed_run_says_what_it_was_made_from_and_other_data_is_noticed(session):
    from noisybench.errors import StaleData
    from noisybench.spec import canonical_json

    good, bad = small_spec(), small_spec({"model.width": 10**12})  # more memory than there is
    train_all(session, [good, bad])
    finished, failed = (session.store.read_record(spec.run_id)["result"] for spec in (good, bad))
    assert (failed["data"], failed["noise"]) == (finished["data"], finished["noise"])
    assert finished["noise"]["sha256"]
    block = canonical_json(bad.data["dataset"])
    assert list(take_stock(session.store, [bad], {block: finished["data"]["fingerprint"]}).settled) == [bad.run_id]
    with pytest.raises(StaleData, match=bad.run_id):
        take_stock(session.store, [bad], {block: "f" * 64}, retry_failed=True)
    assert take_stock(session.store, [bad], {block: "f" * 64}, replace_stale=True).todo == [bad]


def test_a_run_that_fails_before_its_data_is_known_does_not_claim_any(session, monkeypatch):
    from noisybench.train import trainer

    spec = small_spec({"model.width": 10**12})
    train_all(session, [spec])
    assert session.store.read_record(spec.run_id)["result"]["data"] is not None

    def broken(*arguments):
        raise MemoryError("no memory for images")

    monkeypatch.setattr(trainer, "gather", broken)
    train_all(session, [spec], retry_failed=True)
    record = session.store.read_record(spec.run_id)
    assert "no memory for images" in record["provenance"]["error"]
    assert (record["result"]["data"], record["result"]["noise"]) == (None, None)


def test_a_run_held_by_another_process_is_waited_for(session, monkeypatch):
    from noisybench.execute import queue

    monkeypatch.setattr(queue, "BUSY_SECONDS", 0.05)
    spec = small_spec()
    lock = session.store.lock(spec.run_id)
    lock.acquire()
    events = []

    def release(event):
        events.append(event)
        if event["type"] == "busy":
            lock.release()

    run_here(session, Queue([spec], set()), release, Stop())
    assert [event["type"] for event in events if event["type"] in ("busy", "settled")] == ["busy", "settled"]


def test_a_killed_worker_is_replaced(session):
    spec = small_spec({"training.epochs": 40, "model.width": 256})
    killed = []

    def kill_once(event):
        if event["type"] == "epoch" and event["epoch"] == 3 and not killed:
            children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout.split()
            for child in children:
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
                    killed.append(child)

    standing = take_stock(session.store, [spec], {})
    outcome = run_study(session, [spec], standing, kill_once, Stop(), Local(1))
    assert killed
    assert outcome.counts["finished"] == 1


SCRIPT = textwrap.dedent(
    """
    import json, sys
    sys.path[:0] = json.loads(sys.argv[1])
    from pathlib import Path
    from small_runs import small_spec
    from noisybench.execute.study import run_study, take_stock
    from noisybench.execute.executor import Stop
    from noisybench.execute.local import Local
    from noisybench.execute.work import Session

    if __name__ == "__main__":
        session = Session(Path(sys.argv[2]), Path(sys.argv[2]) / "data", None)
        runs = [small_spec({"seed": s, "training.epochs": 60, "model.width": 256}) for s in (0, 1)]
        standing = take_stock(session.store, runs, {})
        tell = lambda event: print(event["type"], flush=True)
        outcome = run_study(session, runs, standing, tell, Stop(), Local(2))
        print(outcome, file=sys.stderr)
        raise SystemExit(outcome.exit_code)
    """
)


def test_killed_with_its_workers_and_run_again_gives_the_same_records(session, tmp_path):
    runs = [small_spec({"seed": s, "training.epochs": 60, "model.width": 256}) for s in (0, 1)]
    train_all(session, runs)
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    root = tmp_path / "killed"
    command = [sys.executable, str(script), json.dumps([str(p) for p in sys.path if p]), str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stdout:
        if line.strip() == "epoch":
            break
    else:
        pytest.fail("it ended before it could be killed")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(process.pid), "workers outlived their parent"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hashes(Store(root), runs) == hashes(session.store, runs)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_exit_codes():
    counts = {"finished": 1}
    assert Outcome(counts, {}, False, None).exit_code == 0
    assert Outcome(counts, {"a": "boom"}, False, None).exit_code == 1
    assert Outcome(counts, {}, True, None).exit_code == 130
    assert Outcome(counts, {}, False, "disk full").exit_code == 1
