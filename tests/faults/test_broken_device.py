"""A GPU that breaks: what it costs, and what it must not be taken for. No GPU is needed; broken ones are played."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from disturbed import study
from small_runs import small_spec, stopped_after

from noisybench.data import DataFolder
from noisybench.execute import work
from noisybench.execute.executor import Stop
from noisybench.execute.local import run_here
from noisybench.execute.queue import Queue
from noisybench.train import checkpoint

BREAKING = '''
"""A loss that breaks the device, for good, of the process that computes it; whatever is trained there then fails."""

from torch.nn.functional import cross_entropy

from noisybench.execute import work
from noisybench.registry import loss

broken = []


def told(device):
    """What a GPU that broke says."""
    return "cuda:0 cannot be used: device-side assert" if broken else None


work.let_go = told


@loss("breaking")
def breaking(logits, labels):
    """Breaks the device."""
    broken.append(True)
    raise RuntimeError("device-side assert")


@loss("careful")
def careful(logits, labels):
    """Cross entropy, where the device works."""
    if broken:
        raise RuntimeError("device-side assert")
    return cross_entropy(logits, labels, reduction="none")
'''


@pytest.fixture
def breaking(session, tmp_path, monkeypatch):
    """A session with the plug-in, a run that breaks the device and two that only want to be trained."""
    from noisybench import registry

    monkeypatch.setattr(work, "let_go", work.let_go)  # put back afterwards: the plug-in changes it
    plugin = tmp_path / "breaking.py"
    plugin.write_text(BREAKING)
    registry.load_plugin(plugin)
    own = registry.get("loss", "breaking").target.__globals__  # loaded once a process
    own["broken"].clear()
    monkeypatch.setattr(work, "let_go", own["told"])
    runs = [small_spec({"method.loss": {"name": "breaking"}})]
    runs += [small_spec({"method.loss": {"name": "careful"}, "seed": seed}) for seed in range(2)]
    return replace(session, plugins=(str(plugin),)), runs


def test_a_run_that_breaks_its_workers_gpu_costs_itself(breaking, fast_workers):
    session, runs = breaking
    events = []
    outcome, _ = study(session, runs, workers=1, observe=events.append)
    assert outcome.counts == {"finished": 2, "diverged": 0, "failed": 1, "blocked": 0}
    assert outcome.failures == {runs[0].run_id: "RuntimeError: device-side assert"}
    assert not [event for event in events if "died" in event.get("text", "")], "nobody's worker died"


def test_a_command_without_workers_ends_where_its_gpu_broke(breaking):
    session, runs = breaking
    session.root.mkdir(parents=True, exist_ok=True)
    said = run_here(session, Queue(list(runs), set()), lambda event: None, Stop())
    assert said == f"cuda:0 cannot be used: device-side assert (since run {runs[0].run_id} was trained)"
    assert session.store.read_record(runs[0].run_id)["result"]["status"] == "failed"
    assert [session.store.read_record(spec.run_id) for spec in runs[1:]] == [None, None], "to be trained another time"


def test_a_gpu_that_breaks_in_the_last_run_keeps_nobody_from_anything(breaking):
    session, runs = breaking
    outcome, _ = study(session, [runs[0]], workers=0)
    assert outcome.broken is None
    assert outcome.failures == {runs[0].run_id: "RuntimeError: device-side assert"}


FULL = """
from pathlib import Path

from noisybench.execute import work, worker

mark = Path({mark!r})
try:
    mark.touch(exist_ok=False)  # of workers that start at once, one
    taken = True
except FileExistsError:
    taken = False


def let_go(device):
    return None if taken else "cuda:0 cannot be used: CUDA error: out of memory"


worker.let_go = let_go
"""


def test_a_worker_that_finds_no_room_on_the_gpu_leaves_the_work_to_the_others(session, fast_workers, tmp_path):
    plugin = tmp_path / "full.py"
    plugin.write_text(FULL.format(mark=str(tmp_path / "mark")))
    runs = [small_spec({"seed": seed, "training.epochs": 4}) for seed in range(4)]
    outcome, _ = study(replace(session, plugins=(str(plugin),)), runs, workers=2)
    assert outcome.broken is None
    assert outcome.counts["finished"] == 4


def test_where_no_worker_finds_room_the_command_ends_and_says_why(session, fast_workers, tmp_path):
    (tmp_path / "mark").touch()
    plugin = tmp_path / "full.py"
    plugin.write_text(FULL.format(mark=str(tmp_path / "mark")))
    outcome, _ = study(replace(session, plugins=(str(plugin),)), [small_spec()], workers=2)
    why = "cuda:0 cannot be used: CUDA error: out of memory"
    assert outcome.broken == f"workers die before they can work: the last ended with code 1 ({why})"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and it works")
def test_a_gpu_that_cannot_be_used_is_no_damage_of_a_checkpoint(store, tmp_path):
    spec = small_spec()
    stopped_after(spec, store, DataFolder(tmp_path, None), 2)
    home = store.folder(spec.run_id)
    before = sorted(path.name for path in home.iterdir())
    with pytest.raises((RuntimeError, AssertionError)):
        checkpoint.load(home, device="cuda")
    assert sorted(path.name for path in home.iterdir()) == before
    assert checkpoint.load(home, device="cpu")[0]["progress"]["rows"]


def test_what_a_method_keeps_in_the_computers_memory_stays_there():
    class Storage:
        def to(self, *, device):
            return f"moved to {device}"

    kept = Storage()
    place = checkpoint._placing("cuda:1", everything=False)
    assert place(kept, "cpu") is kept
    assert place(kept, "cuda:0") == "moved to cuda:1"
    assert checkpoint._placing("cuda:1", everything=True)(kept, "cpu") == "moved to cuda:1"


DYING = """
import os
import signal
from pathlib import Path

import noisybench.train.trainer as trainer

save = trainer.Run.save_when_due
trainer.CHECKPOINT_SECONDS = trainer.CHECKPOINT_COST = 0.0


def saved(run):
    save(run)
    mark = Path({folder!r}) / str(len(run.progress.rows))
    if not mark.exists() and len(run.progress.rows) < run.epochs:
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


trainer.Run.save_when_due = saved
"""


def test_a_run_that_gets_on_between_the_deaths_of_its_workers_finishes(session, fast_workers, tmp_path):
    (tmp_path / "marks").mkdir()
    plugin = tmp_path / "dying.py"
    plugin.write_text(DYING.format(folder=str(tmp_path / "marks")))
    spec = small_spec({"training.epochs": 4})
    events = []
    outcome, _ = study(replace(session, plugins=(str(plugin),)), [spec], workers=1, observe=events.append)
    assert outcome.counts["finished"] == 1
    assert sum("goes on from its last checkpoint" in event.get("text", "") for event in events) == 3
    assert not math.isnan(session.store.read_record(spec.run_id)["result"]["test_accuracy"]["last"])
