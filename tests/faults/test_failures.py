"""A method that raises, hangs, crashes or is killed costs its own run only, and the record says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disturbed import hashes, small_study, study
from small_runs import small_spec

from noisybench.execute import deaths, hand, local
from noisybench.execute.executor import Stop
from noisybench.execute.study import take_stock
from noisybench.execute.work import Session
from noisybench.registry import _components, load_plugin
from noisybench.train import origin

BAD = '''
"""Losses that no study should meet."""

import ctypes
import os
import pathlib
import signal
import sys
import time

from torch import Tensor

from noisybench.registry import loss


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("not even this")


@loss("raising")
def raising(logits: Tensor, labels: Tensor) -> Tensor:
    """Raises."""
    raise ValueError("a \\udce9 that is no text\\nand a second line")


@loss("unspeakable")
def unspeakable(logits: Tensor, labels: Tensor) -> Tensor:
    """Raises what cannot be printed."""
    raise Unspeakable


@loss("leaving")
def leaving(logits: Tensor, labels: Tensor) -> Tensor:
    """Leaves."""
    sys.exit(3)


@loss("hanging")
def hanging(logits: Tensor, labels: Tensor) -> Tensor:
    """Says that it is there, and nothing more."""
    pathlib.Path(__file__).with_name("reached").touch()
    while True:
        time.sleep(0.05)


@loss("crashing")
def crashing(logits: Tensor, labels: Tensor) -> Tensor:
    """Reads where nothing is."""
    ctypes.string_at(0)


@loss("killed")
def killed(logits: Tensor, labels: Tensor) -> Tensor:
    """Ends as the system ends a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@loss("greedy")
def greedy(logits: Tensor, labels: Tensor) -> Tensor:
    """Takes more memory than it may have: 1.5 GB, so that nobody else is harmed where nothing stops it."""
    everything = [bytearray(b"x" * 2**24) for _ in range(96)]
    raise AssertionError(f"nobody minded {len(everything)} pieces")
'''


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """The file of the bad losses, known to this process too while these tests run."""
    path = tmp_path_factory.mktemp("losses") / "bad.py"
    path.write_text(BAD)
    names = set(_components)
    load_plugin(path)
    yield str(path)
    for name in set(_components) - names:
        _components.pop(name)


@pytest.fixture
def bad(session, losses):
    """A session whose workers know the bad losses."""
    return Session(session.root, session.data_dir, None, plugins=(losses,))


def with_loss(name):
    return small_spec({"method.loss": {"name": name}, "training.epochs": 4})


def provenance(session, spec):
    record = session.store.read_record(spec.run_id)
    assert record["result"]["status"] == "failed"
    assert "\n" not in record["provenance"]["error"]
    return record["provenance"]


REASONS = {
    "raising": ("ValueError: a \\udce9 that is no text", "in raising"),
    "unspeakable": ("Unspeakable", "in unspeakable"),
    "leaving": ("SystemExit: 3", "in leaving"),
    "crashing": ("its worker was killed by signal 11, 3 times", "in crashing"),
    "killed": ("its worker was killed by signal 9", None),
}


def test_bad_methods_cost_their_own_runs(bad, fast_workers, undisturbed):
    whole, runs = undisturbed
    lost = {name: with_loss(name) for name in REASONS}
    outcome, _ = study(bad, [*lost.values(), *runs], workers=2)
    assert outcome.exit_code == 1
    assert outcome.counts == {"finished": 4, "diverged": 0, "failed": 5, "blocked": 0}
    assert hashes(bad.store, runs) == hashes(whole, runs)
    for name, spec in lost.items():
        error, where = REASONS[name]
        told = provenance(bad, spec)
        assert error in told["error"]
        assert (where is None and told["traceback"] is None) or where in told["traceback"], name
        result, other = (bad.store.read_record(one.run_id)["result"] for one in (spec, runs[0]))
        assert result["data"] == other["data"], "who settles it knows on what it was trained"
        assert result["noise"] == other["noise"]
        assert not (bad.store.folder(spec.run_id) / origin.FILE).exists()
    assert "memory" in provenance(bad, lost["killed"])["error"]


def test_a_hanging_method_is_ended_and_its_record_says_where_it_hung(
    bad, fast_workers, undisturbed, losses, monkeypatch
):
    whole, runs = undisturbed
    spec = with_loss("hanging")
    reached, settled = Path(losses).with_name("reached"), bad.store.folder(spec.run_id) / "record.json"

    class Impatient(local.Crew):
        """Whose patience ends when the method hangs, not a moment earlier."""

        def _end_late(self):
            self.timeout = 0.0 if reached.exists() and not settled.exists() else None
            super()._end_late()

    monkeypatch.setattr(local, "Crew", Impatient)
    outcome, _ = study(bad, [spec, *runs], workers=1)
    assert outcome.counts == {"finished": 4, "diverged": 0, "failed": 1, "blocked": 0}
    assert hashes(bad.store, runs) == hashes(whole, runs)
    assert "(--timeout)" in provenance(bad, spec)["error"]
    assert bad.store.read_record(spec.run_id)["result"]["data"] is not None
    assert "in hanging" in provenance(bad, spec)["traceback"]


def test_a_failed_run_is_taken_up_again_only_when_asked(bad, fast_workers):
    spec = with_loss("raising")
    study(bad, [spec], workers=1)
    assert take_stock(bad.store, [spec], {}).todo == []
    again = take_stock(bad.store, [spec], {}, retry_failed=True)
    assert again.todo == [spec]
    assert (bad.store.folder(spec.run_id) / "record.json.old").exists()


def test_fail_fast_stops_at_the_first_failure_and_the_others_go_on_later(bad, fast_workers, undisturbed):
    whole, runs = undisturbed
    spec = with_loss("raising")
    stop = Stop()
    outcome, _ = study(bad, [spec, *runs], workers=1, stop=stop, fail_fast=True)
    assert (outcome.exit_code, outcome.unfinished, outcome.interrupted) == (1, True, False)
    assert outcome.counts["failed"] == 1
    assert outcome.counts["finished"] == 0
    outcome, _ = study(bad, [spec, *runs], workers=1)
    assert outcome.counts == {"finished": 4, "diverged": 0, "failed": 1, "blocked": 0}
    assert hashes(bad.store, runs) == hashes(whole, runs)


def test_a_run_without_memory_costs_itself(bad, fast_workers, undisturbed, tmp_path):
    whole, runs = undisturbed
    limit = tmp_path / "limit.py"
    limit.write_text(
        "import resource\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not tell how much memory a process uses")
    session = Session(bad.root, bad.data_dir, None, plugins=(*bad.plugins, str(limit)))
    spec = with_loss("greedy")
    outcome, _ = study(session, [spec, *runs], workers=1)
    assert outcome.counts == {"finished": 4, "diverged": 0, "failed": 1, "blocked": 0}
    assert hashes(bad.store, runs) == hashes(whole, runs)
    assert provenance(bad, spec)["error"].startswith("MemoryError")
    assert "in greedy" in provenance(bad, spec)["traceback"]


def limited_group() -> Path | None:
    """A new control group whose processes may use 700 MB together, or None where none is to be had."""
    for base, file in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        group = base / f"noisybench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            with (group / file).open("r+") as limit:  # the kernel makes this file where groups limit memory
                limit.write(str(700 * 2**20))
            return group
        except OSError:
            group.rmdir()
    return None


def test_a_worker_killed_by_the_system_for_memory_costs_its_own_run(bad, fast_workers, undisturbed, tmp_path):
    group = limited_group()
    if group is None:
        pytest.skip("no control group for memory can be made here")
    whole, runs = undisturbed
    join = tmp_path / "join.py"
    join.write_text(f"import os\nopen({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n")
    session = Session(bad.root, bad.data_dir, None, plugins=(*bad.plugins, str(join)))
    spec = with_loss("greedy")
    try:
        outcome, _ = study(session, [spec, *runs], workers=1)
    finally:
        group.rmdir()
    assert outcome.counts == {"finished": 4, "diverged": 0, "failed": 1, "blocked": 0}
    assert hashes(bad.store, runs) == hashes(whole, runs)
    assert "memory" in provenance(bad, spec)["error"]


def test_workers_that_cannot_start_fail_no_run(bad, fast_workers, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import os\nos._exit(7)\n")
    session = Session(bad.root, bad.data_dir, None, plugins=(str(broken),))
    runs = small_study()
    outcome, _ = study(session, runs, workers=2)
    assert "workers die before they can work" in outcome.broken
    assert "code 7" in outcome.broken
    assert not list(session.root.glob("*/record.json"))


def test_a_system_without_processes_to_give_is_one_line(bad, fast_workers, monkeypatch):
    def none_left(session, stop_at):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(local, "hire", none_left)
    outcome, _ = study(bad, small_study(), workers=2)
    assert outcome.broken == "no worker process can be started: Resource temporarily unavailable"


def test_one_process_is_enough_where_no_second_can_be_started(bad, fast_workers, monkeypatch, undisturbed):
    whole, runs = undisturbed
    hired = []

    def one_only(session, stop_at):
        if hired:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        hired.append(hand.hire(session, stop_at))
        return hired[0]

    monkeypatch.setattr(local, "hire", one_only)
    outcome, _ = study(bad, runs, workers=2)
    assert outcome.exit_code == 0
    assert hashes(bad.store, runs) == hashes(whole, runs)


def test_a_worker_that_died_after_its_last_word_did_not_fail(bad, undisturbed, fast_workers, tmp_path, monkeypatch):
    """It settles its run and is killed before it can say so: that run is finished."""
    whole, runs = undisturbed
    mute = tmp_path / "mute.py"
    mute.write_text(
        "import os, signal\nfrom noisybench.execute import work\n"
        "work._settled = lambda record: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setattr(deaths, "DEATHS", 1)
    session = Session(bad.root, bad.data_dir, None, plugins=(str(mute),))
    outcome, _ = study(session, runs, workers=1)
    assert outcome.exit_code == 0
    assert hashes(bad.store, runs) == hashes(whole, runs)
