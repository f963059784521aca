"""Many short runs in one worker: memory, descriptors and processes stay what they were."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from disturbed import study
from small_runs import small_spec

from noisybench.execute import local

if not Path("/proc/self/statm").exists():
    pytest.skip("this system does not tell what a process holds", allow_module_level=True)


def holds(pid):
    """Resident bytes, open descriptors and threads of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))


def children():
    """State of every child of this process by number; Z is a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found[int(path.parent.name)] = fields[0]
    return found


@pytest.mark.parametrize("number", [pytest.param(60, id="60"), pytest.param(500, id="500", marks=pytest.mark.slow)])
def test_nothing_grows_over_many_short_runs_in_one_worker(session, fast_workers, monkeypatch, number):
    runs = [small_spec({"training.epochs": 1, "dataset.train_subset": 100, "seed": seed}) for seed in range(number)]
    hired, seen = [], []

    class Watched(local.Crew):
        def work(self):
            hired.append(self)
            super().work()

    def watch(event):
        if event["type"] == "settled":
            (hand,) = hired[-1].hands
            seen.append((hand.process.pid, *holds(hand.process.pid), len(os.listdir("/proc/self/fd"))))

    monkeypatch.setattr(local, "Crew", Watched)
    study(session, runs[:1], workers=1)  # what is started once (a fork server, say) is here from now on
    hired.clear()
    before, descriptors = set(children()), len(os.listdir("/proc/self/fd"))
    outcome, _ = study(session, runs[1:], workers=1, observe=watch)
    assert outcome.counts["finished"] == number - 1
    pids, memory, opened, threads, ours = zip(*seen, strict=True)
    assert len(set(pids)) == 1, "one worker did it all"
    warm = len(seen) // 4
    assert memory[-1] - memory[warm] < 8 * 2**20 + 10_000 * (number - warm)
    assert max(opened[warm:]) == opened[warm]
    assert max(threads[warm:]) == threads[warm]
    assert max(ours[warm:]) == ours[warm]
    assert set(children()) <= before
    assert "Z" not in children().values()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert not Path(f"/proc/{pids[0]}").exists(), "the worker is gone"


def test_workers_that_die_leave_nothing_behind(session, fast_workers, tmp_path, monkeypatch):
    plugin = tmp_path / "mortal.py"
    plugin.write_text(
        "import os, signal\nfrom noisybench.execute import work\n"
        "def told(store, record):\n    os.kill(os.getpid(), signal.SIGKILL)\nwork.told = told\n"
    )
    runs = [small_spec({"training.epochs": 1, "seed": seed}) for seed in range(4)]
    study(session, runs[:1], workers=1)
    before, descriptors = set(children()), len(os.listdir("/proc/self/fd"))
    outcome, _ = study(replace(session, plugins=(str(plugin),)), runs[1:], workers=2)
    assert outcome.broken is None
    assert set(children()) <= before
    assert "Z" not in children().values()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
