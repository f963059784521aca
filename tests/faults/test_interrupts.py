"""Signals to ``run``: what can be saved is saved, and the command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from noisybench.cli.interrupt import END_SECONDS, TWICE, stopping
from noisybench.execute.executor import EPOCH_GRACE, SAVE_GRACE, Stop

SUITE = """
name: stubborn
version: 1
dataset: {name: digits, train_subset: 200, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 16}
training: {epochs: 2, batch_size: 50}
methods:
  Hanging: {loss: hanging}
"""
HANGING = '''
"""A loss that hangs."""

import pathlib
import time

from torch import Tensor

from noisybench.registry import loss


@loss("hanging")
def hanging(logits: Tensor, labels: Tensor) -> Tensor:
    """Says that it is there, and nothing more."""
    pathlib.Path("reached").touch()
    while True:
        time.sleep(0.05)
'''


def start(tmp_path, workers):
    """A command that hangs in a run; returned when it does."""
    (tmp_path / "stubborn.yaml").write_text(SUITE)
    (tmp_path / "hanging.py").write_text(HANGING)
    command = [sys.executable, "-m", "noisybench", "run", "stubborn.yaml", "--plugin", "hanging.py"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def gone(group):
    """True once no process of the group is left; the test's own time limit is two minutes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_whose_run_hangs_in_a_worker(tmp_path, number):
    process = start(tmp_path, 1)
    os.killpg(process.pid, number)  # as a terminal or a scheduler does: to everybody
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Go on with the same command" in out
    assert "Traceback" not in err
    assert gone(process.pid)
    assert not list(tmp_path.rglob("record.json")), "an interrupted run is not settled"


@pytest.mark.parametrize(("workers", "signals"), [(0, 1), (1, 2)])
def test_a_run_that_hangs_in_the_command_itself_or_a_second_signal_ends_at_once(tmp_path, workers, signals):
    process = start(tmp_path, workers)
    process.send_signal(signal.SIGINT)
    assert "Stopping" in process.stderr.readline()
    if signals == 2:
        time.sleep(2 * TWICE)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Go on with the same command" in err
    assert "Traceback" not in err
    assert gone(process.pid)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals need the main thread")
def test_two_signals_at_once_are_one():
    """As ``timeout -s INT`` sends them, to a command and to its group."""
    stop = Stop()
    with stopping(stop):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested


def test_the_waits_after_a_signal_add_up_to_less_than_ten_seconds():
    assert EPOCH_GRACE == 5.0
    assert EPOCH_GRACE + SAVE_GRACE < END_SECONDS < 10.0


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    process = start(tmp_path, 1)
    process.kill()
    process.communicate(timeout=120)
    assert gone(process.pid)


def test_sigterm_while_nothing_is_trained_is_one_line(tmp_path):
    (tmp_path / "stubborn.yaml").write_text(SUITE.replace("hanging", "ce"))
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('reached').touch()\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "noisybench", "run", "stubborn.yaml", "--plugin", "slow.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "reached").exists():
        time.sleep(0.05)
    process.terminate()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "noisybench: interrupted\n")
    assert not (tmp_path / "runs").exists()
