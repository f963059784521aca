"""SIGKILL at any moment: the next start goes on and ends with the same records."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from disturbed import hashes, leftovers, study
from small_runs import small_spec

from noisybench.execute import deaths, local
from noisybench.execute.work import Session, execute
from noisybench.store import Store

GROUP_KILLS = 4


class Killer(threading.Thread):
    """Kills a random worker after random pauses, until it is told to stop or has killed often enough."""

    def __init__(self, crews, rng, budget):
        super().__init__(daemon=True)
        self.crews, self.rng, self.budget = crews, rng, budget
        self.kills, self.end = 0, threading.Event()

    def run(self):
        while self.kills < self.budget and not self.end.wait(self.rng.uniform(0.0, 0.5)):
            hands = [hand for crew in self.crews[-1:] for hand in crew.hands]
            if hands:
                try:
                    os.kill(self.rng.choice(hands).process.pid, signal.SIGKILL)
                    self.kills += 1
                except (ProcessLookupError, ValueError, AttributeError):
                    continue


@pytest.mark.parametrize("most", [pytest.param(40, id="some"), pytest.param(110, id="all", marks=pytest.mark.slow)])
def test_kills_of_workers_change_no_record(fast_workers, tmp_path, often, undisturbed, monkeypatch, most):
    whole, runs = undisturbed
    expected = hashes(whole, runs)
    rng = random.Random(8)
    crews = []

    class Watched(local.Crew):
        def work(self):
            crews.append(self)
            super().work()

    monkeypatch.setattr(local, "Crew", Watched)
    for module in (deaths, local):  # here, a worker's death is nobody's fault
        monkeypatch.setattr(module, "DEATHS", 10**6)
    kills, rounds = 0, 0
    while kills < most:
        session = Session(tmp_path / f"round-{rounds}", tmp_path / "data", None, plugins=(often,))
        killer = Killer(crews, rng, most - kills)
        killer.start()
        outcome, _ = study(session, runs, workers=2)
        killer.end.set()
        killer.join()
        crews.clear()
        assert outcome.exit_code == 0, outcome
        assert hashes(session.store, runs) == expected
        assert not leftovers(session.root)
        assert not list(session.root.rglob("*.corrupt"))
        kills, rounds = kills + killer.kills, rounds + 1
    assert kills == most


def die_at(number, session, data, run_id, plugin):
    """In a process of its own: train one run, and die before the ``number``-th change to the disk."""
    from noisybench import registry
    from noisybench.spec import RunSpec

    registry.load_plugin(plugin)
    calls = 0

    def counted(real):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                os._exit(9)
            return real(*arguments, **options)

        return call

    for name in ("fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    event = execute(session, RunSpec(data, run_id), lambda event: None, lambda: None)
    os._exit(0 if event["type"] == "settled" else 1)


@pytest.mark.parametrize("step", [pytest.param(13, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_death_before_any_change_to_the_disk_changes_no_record(fast_workers, tmp_path, often, step):
    whole = Session(tmp_path / "whole", tmp_path / "data", None)
    spec, number, codes = small_spec(), 0, []
    study(whole, [spec])
    while not codes or codes[-1] == 9:
        number += step
        session = Session(tmp_path / str(number), tmp_path / "data", None)
        session.root.mkdir()
        arguments = (number, session, spec.data, spec.run_id, often)
        process = fast_workers.Process(target=die_at, args=arguments)
        process.start()
        process.join()
        codes.append(process.exitcode)
        outcome, _ = study(session, [spec])
        assert outcome.exit_code == 0
        assert hashes(session.store, [spec]) == hashes(whole.store, [spec])
        home = session.store.folder(spec.run_id)
        assert not leftovers(home)
        assert not list(home.glob("checkpoint*")), "a settled run keeps no checkpoint"
    assert codes[-1] == 0
    assert number > 20


SCRIPT = textwrap.dedent(
    """
    import json, sys
    sys.path[:0] = json.loads(sys.argv[1])
    from pathlib import Path
    from disturbed import small_study, study
    from noisybench.execute.work import Session

    if __name__ == "__main__":
        session = Session(Path(sys.argv[2]), Path(sys.argv[2]) / "data", None, plugins=(sys.argv[3],))
        print("ready", flush=True)
        outcome, _ = study(session, small_study(), workers=2)
        raise SystemExit(outcome.exit_code)
    """
)


def kill_groups(number, tmp_path, often):
    """Start the study again and again and kill it with all its workers at a random moment; returns its store."""
    script, root = tmp_path / "study.py", tmp_path / "killed"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), json.dumps([p for p in sys.path if p]), str(root), often]
    rng, kills, longest = random.Random(88), 0, 4.0
    while kills < number:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        process.stdout.readline()
        try:
            process.wait(rng.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:  # it was done before its time: make it hurry less, on a fresh store
            assert process.returncode == 0
            longest *= 0.8
            root = tmp_path / f"killed-{kills}"
            command[3] = str(root)
        process.stdout.close()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Store(root)


def test_kills_of_the_whole_group_change_no_record(tmp_path, often, undisturbed):
    whole, runs = undisturbed
    assert hashes(kill_groups(GROUP_KILLS, tmp_path, often), runs) == hashes(whole, runs)


@pytest.mark.slow
def test_a_hundred_kills_of_the_whole_group_change_no_record(tmp_path, often, undisturbed):
    whole, runs = undisturbed
    assert hashes(kill_groups(100, tmp_path, often), runs) == hashes(whole, runs)
