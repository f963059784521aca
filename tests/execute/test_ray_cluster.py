"""A study on a two-node Ray cluster: nodes and workers die, and the records are those of a local run."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from ray_study import at_home, hashes, on_ray, pausing, small_study, wait_for
from small_runs import small_spec

from noisybench.execute.ray.lending import Lent
from noisybench.execute.work import Session

pytest.importorskip("ray")
pytestmark = pytest.mark.ray

HARMFUL = '''
"""Losses that harm what trains them."""

import os
import signal
import time

from torch import Tensor
from torch.nn.functional import cross_entropy

from noisybench.registry import loss


@loss("raising")
def raising(logits: Tensor, labels: Tensor) -> Tensor:
    """Raises."""
    raise ArithmeticError("this loss cannot be computed")


@loss("killing")
def killing(logits: Tensor, labels: Tensor) -> Tensor:
    """Kills the process that computes it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return cross_entropy(logits, labels, reduction="none")


@loss("hanging")
def hanging(logits: Tensor, labels: Tensor) -> Tensor:
    """Never comes back."""
    while True:
        time.sleep(0.05)


@loss("writing")
def writing(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy."""
    return cross_entropy(logits, labels, reduction="none")
'''


@pytest.mark.parametrize("shared", ["no", "auto"])
def test_a_node_that_dies_changes_no_record(nodes, tmp_path, shared):
    """With ``no``, nothing but what Ray carries passes between nodes and store."""
    gate = tmp_path / "go on"
    session = Session(tmp_path / "store", tmp_path / "data", None, plugins=(pausing(tmp_path, 0.5, gate),))
    runs, lost = small_study(epochs=100), []  # a minute, or until a node was lost: a slow checkpoint may be passed over

    def first_kept():
        """A run of which a checkpoint has come, and the number of its node."""
        homes = {spec.run_id: session.store.folder(spec.run_id) for spec in runs}
        kept = [run_id for run_id, home in homes.items() if (home / "checkpoint.pt").exists()]
        numbers = [(run_id, nodes.number_of(session.store, run_id)) for run_id in kept]
        return next(((run_id, number) for run_id, number in numbers if number is not None), None)

    def lose_a_node():
        try:
            wait_for(lambda: first_kept() is not None)
            run_id, number = first_kept()
            lost.append(run_id)
            nodes.lose(number)
        finally:
            gate.touch()

    loser = threading.Thread(target=lose_a_node)
    loser.start()
    try:
        outcome, events = on_ray(session, runs, nodes.address, shared=shared)
    finally:
        loser.join()
        if lost:
            nodes.replace()
    assert outcome.exit_code == 0, outcome
    assert hashes(session.store, runs) == at_home(session, runs, tmp_path / "home")
    texts = [event["text"] for event in events if event["type"] == "log" and event["run_id"] == lost[0]]
    assert any("lost with its node; it goes on from its last checkpoint" in text for text in texts)
    assert any(text.startswith("resumed after epoch") for text in texts)
    record = session.store.read_record(lost[0])
    assert record["provenance"]["resumes"] == 1
    assert record["provenance"]["place"]["executor"] == "ray"
    home = session.store.folder(lost[0])
    assert sorted(path.name for path in home.iterdir()) == [
        "correct.npz",
        "curves.npz",
        "epochs.jsonl",
        "model.pt",
        "predictions.npz",
        "record.json",
        "run.log",
        "spec.json",
    ]
    assert len((home / "epochs.jsonl").read_text().splitlines()) == 100
    assert "resumed after epoch" in (home / "run.log").read_text()
    assert not list((session.root / ".locks").glob("probe.*"))


@pytest.mark.parametrize("shared", ["no", "yes"])
def test_a_run_that_raises_hangs_or_kills_costs_itself(nodes, tmp_path, shared):
    plugin = tmp_path / "harmful.py"
    plugin.write_text(HARMFUL)
    from noisybench import registry

    registry.load_plugin(plugin)
    session = Session(tmp_path / "store", tmp_path / "data", None, plugins=(str(plugin),))
    bad = {name: small_spec({"method.loss": {"name": name}}) for name in ("raising", "killing", "hanging")}
    student = small_spec({"method.loss": {"name": "ce"}, "method.relabel": bad["raising"].run_id, "seed": 1})
    good = [small_spec(), small_spec({"method.loss": {"name": "writing"}})]
    runs = [bad["raising"], bad["killing"], *good, student]
    outcome, events = on_ray(session, runs, nodes.address, shared=shared)
    assert outcome.exit_code == 1
    assert outcome.counts == {"finished": 2, "diverged": 0, "failed": 2, "blocked": 1}
    outcome, _ = on_ray(session, [bad["hanging"]], nodes.address, timeout=4.0, shared=shared)
    assert outcome.counts["failed"] == 1
    assert hashes(session.store, good) == at_home(session, good, tmp_path / "home")
    told = {name: session.store.read_record(spec.run_id)["provenance"] for name, spec in bad.items()}
    assert told["raising"]["error"] == "ArithmeticError: this loss cannot be computed"
    assert "harmful.py" in told["raising"]["traceback"]
    assert told["killing"]["error"].startswith("its worker died")
    assert told["killing"]["error"].endswith("3 times without a newer checkpoint in between")
    assert told["hanging"]["error"] == "took longer than 4 seconds (--timeout) and was ended"
    assert "in hanging" in told["hanging"]["traceback"]
    begun = [event["run_id"] for event in events if event["type"] == "start"]
    assert begun.count(bad["killing"].run_id) == 3
    assert begun.count(bad["raising"].run_id) == 1
    made_from = session.store.read_record(bad["hanging"].run_id)["result"]["data"]
    assert made_from["name"] == "digits", "the record of a run that was ended says what it was made from"


def test_what_no_node_can_do_is_said_in_one_line(nodes, tmp_path):
    session = Session(tmp_path / "store", tmp_path / "data", None, device="cuda")
    outcome, _ = on_ray(session, [small_spec()], nodes.address, gpus_per_run=0.0)
    assert outcome.broken is not None
    assert "no CUDA device" in outcome.broken
    assert not list(tmp_path.rglob("record.json"))


def test_files_that_a_run_names_reach_its_node(nodes, tmp_path):
    """An npz data set and a matrix: the data folder is no part of what a node gets."""
    import numpy as np

    from noisybench.suite import load_suite

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (120, 8, 8), np.uint8), np.arange(120) % 4
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images[:40], y_test=labels[:40])
    np.savetxt(tmp_path / "matrix.csv", 0.7 * np.eye(4) + 0.075, delimiter=",")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nversion: 1\ndataset: {name: npz, path: mine.npz}\n"
        "noise: {kind: matrix, path: matrix.csv}\nmodel: {name: mlp, width: 8}\n"
        "training: {epochs: 2, batch_size: 40, precision: fp32}\nmethods: {SGD: {}}\n"
    )
    runs = list(load_suite(str(tmp_path / "mine.yaml"), sets=[], name=None).expand().runs)
    session = Session(tmp_path / "store", tmp_path / "data", tmp_path)
    outcome, _ = on_ray(session, runs, nodes.address, shared="no")
    assert outcome.exit_code == 0, outcome
    assert hashes(session.store, runs) == at_home(session, runs, tmp_path / "home")
    spec = json.loads((session.store.folder(runs[0].run_id) / "spec.json").read_text())["spec"]
    assert Path(spec["noise"]["path"]).name == "matrix.csv"


COUNTING = """
import pathlib
import time

import noisybench.train.trainer as trainer

complete = trainer.Run.complete


def noted(run):
    start = time.monotonic()
    time.sleep(3.0)
    record = complete(run)
    with pathlib.Path("NOTES").open("a") as file:
        file.write(f"{start} {time.monotonic()}\\n")
    return record


trainer.Run.complete = noted
"""


def test_no_more_runs_are_trained_at_once_than_there_are_processors(nodes, tmp_path, monkeypatch):
    """Ray gives a task's processor away while its main thread waits, as here for a command that takes its time."""
    ask = Lent.ask

    def slowly(lent, observe):
        time.sleep(2.0)
        return ask(lent, observe)

    monkeypatch.setattr(Lent, "ask", slowly)
    plugin, notes = tmp_path / "counting.py", tmp_path / "notes"
    plugin.write_text(COUNTING.replace("NOTES", str(notes)))
    session = Session(tmp_path / "store", tmp_path / "data", None, plugins=(str(plugin),))
    runs = [small_spec({"seed": seed}) for seed in range(6)]
    outcome, _ = on_ray(session, runs, nodes.address, shared="no")
    assert outcome.counts["finished"] == 6
    spans = [tuple(map(float, line.split())) for line in notes.read_text().splitlines()]
    assert len(spans) == 6
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) <= 2
