"""No space, no permission, no folder: one clear line, nothing half-written, and a rerun works afterwards."""

from __future__ import annotations

import errno
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from disturbed import hashes, leftovers, study
from small_runs import small_spec

from noisybench.execute.work import Session, execute
from noisybench.spec import RunSpec
from noisybench.store import Store
from noisybench.train import trainer

SUITE = """
name: full
version: 1
dataset: {name: digits, train_subset: 300, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 64}
training: {epochs: 4, batch_size: 50}
seeds: 2
methods:
  SGD: {}
  Student: {relabel: SGD}
"""


@pytest.fixture
def _checkpoints(monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "CHECKPOINT_COST", 0.0)


@pytest.mark.usefixtures("_checkpoints")
@pytest.mark.parametrize(
    ("number_of", "lasting"),
    [(errno.ENOSPC, True), (errno.EROFS, True), (errno.EROFS, False), (errno.EACCES, False)],
)
def test_an_error_at_any_change_to_the_disk_fails_no_run_and_a_rerun_goes_on(tmp_path, monkeypatch, number_of, lasting):
    spec = small_spec()
    whole = Session(tmp_path / "whole", tmp_path / "data", None)
    study(whole, [spec])
    words, number, reached = os.strerror(number_of), 0, True
    while reached:
        number += 1
        session = Session(tmp_path / f"{number}", tmp_path / "data", None)
        session.root.mkdir()
        calls = 0

        def failing(real, here=str(session.root), at=number):
            def call(*arguments, **options):
                nonlocal calls
                writes = "mode" not in options and not (len(arguments) > 1 and arguments[1] in ("r", "rb"))
                if writes and str(arguments[0] if not isinstance(arguments[0], int) else here).startswith(here):
                    calls += 1
                    if calls >= at if lasting else calls == at:
                        raise OSError(number_of, words)
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, failing(getattr(os, name)))
            patch.setattr(pathlib.Path, "open", failing(pathlib.Path.open))
            outcome, _ = study(session, [spec])
        reached = calls >= number
        if outcome.broken is not None:
            assert words in outcome.broken
            assert len(outcome.broken.splitlines()) == 1
            record = session.store.read_record(spec.run_id)
            assert record is None or record["result"]["status"] == "finished", "nobody is to blame"
        else:  # of a view, say, or a lock that is tried again
            assert outcome.counts["finished"] == 1, "nobody is to blame"
        assert not leftovers(session.root)
        outcome, _ = study(session, [spec])
        assert outcome.exit_code == 0
        assert hashes(session.store, [spec]) == hashes(whole.store, [spec])
    assert number > 20


def capped(session, data, run_id, connection):
    """In a process of its own: train where no file may be larger than 20 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    connection.send(execute(session, RunSpec(data, run_id), lambda event: None, lambda: None))


def other_user(session, data, run_id, connection):
    """In a process of its own: train as a user who may read but not write."""
    if os.getuid() == 0:
        os.setuid(65534)
    connection.send(execute(session, RunSpec(data, run_id), lambda event: None, lambda: None))


def elsewhere(context, target, session, spec):
    """The event with which a process of its own ends."""
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(session, spec.data, spec.run_id, theirs))
    process.start()
    theirs.close()
    event = ours.recv()
    process.join()
    return event


def test_a_file_size_limit_is_named_and_a_rerun_goes_on(fast_workers, session):
    spec = small_spec({"model.width": 256})
    session.root.mkdir(parents=True)
    event = elsewhere(fast_workers, capped, session, spec)
    assert event["type"] == "broken"
    assert "model.pt: cannot be written: File too large" in event["text"]
    assert not leftovers(session.root)
    assert study(session, [spec])[0].exit_code == 0


def test_a_missing_permission_is_named_and_a_rerun_goes_on(fast_workers):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "study"
        os.chmod(place, 0o755)
        (root / ".locks").mkdir(parents=True)
        session, spec = Session(root, Path(place) / "data", None), small_spec()
        for path in (root, root / ".locks"):
            path.chmod(0o555)
        event = elsewhere(fast_workers, other_user, session, spec)
        assert event["type"] == "broken"
        assert "Permission denied" in event["text"]
        assert str(root) in event["text"]
        assert list(root.iterdir()) == [root / ".locks"]
        for path in (root, root / ".locks"):
            path.chmod(0o755)
        assert study(session, [spec])[0].exit_code == 0


@pytest.mark.usefixtures("_checkpoints")
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_folder_that_vanishes_is_not_made_again_and_a_rerun_goes_on_when_it_is_back(session, epoch, tmp_path):
    spec, away = small_spec(), tmp_path / "away"
    whole = Session(tmp_path / "whole", tmp_path / "data", None)
    study(whole, [spec])

    def take_away(event):
        if event["type"] == "epoch" and event["epoch"] == epoch:
            os.replace(session.root, away)

    outcome, _ = study(session, [spec], observe=take_away)
    assert f"{session.root}: the folder of results vanished" in outcome.broken
    assert not session.root.exists()
    os.replace(away, session.root)
    events = []
    outcome, _ = study(session, [spec], observe=events.append)
    assert outcome.exit_code == 0
    assert sum(event["type"] == "epoch" for event in events) == 3 - (epoch - 1)
    assert hashes(session.store, [spec]) == hashes(whole.store, [spec])


IN_A_SMALL_DISK = """
set -u
run() { "$PYTHON" -m noisybench run "$SUITE" --workers "$1" --runs "$DISK/runs"; echo "exit code $?"; }
mount -t tmpfs -o size=400k tmpfs "$DISK" || exit 99
dd if=/dev/zero of="$DISK/filler" bs=1k count=300 2>/dev/null
run 1
rm "$DISK/filler"
mount -o remount,ro "$DISK" && run 0
mount -o remount,rw,size=20m "$DISK" && run 1
find "$DISK" -name '*.tmp'
cp -r "$DISK/runs/full" "$OUT"
"""


def test_a_full_and_then_read_only_disk_is_one_line_and_a_rerun_goes_on(tmp_path):
    unshare = shutil.which("unshare")
    private = [unshare, "-m"] if os.geteuid() == 0 else [unshare, "-Urm"]
    if (
        unshare is None
        or subprocess.run([*private, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    suite, disk = tmp_path / "full.yaml", tmp_path / "disk"
    suite.write_text(SUITE)
    disk.mkdir()
    places = {"PYTHON": sys.executable, "SUITE": str(suite), "DISK": str(disk), "OUT": str(tmp_path / "out")}
    command = [*private, "sh", "-c", IN_A_SMALL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **places})
    assert done.stdout.count("exit code") == 3, done.stderr
    full, read_only, whole = done.stdout.split("exit code")[:3]
    codes = [part.split()[0] for part in done.stdout.split("exit code")[1:]]
    assert codes == ["1", "1", "0"], done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert "No space left on device" in lines[0]
    assert "Read-only file system" in lines[1]
    assert all(line.startswith("noisybench: ") and str(disk) in line for line in lines)
    assert "4 finished" in whole
    assert ".tmp" not in done.stdout
    assert full != read_only
    records = {run_id: record for run_id, record, _ in Store(tmp_path / "out").records()}
    assert [record["result"]["status"] for record in records.values()] == ["finished"] * 4
