"""A clock that runs backwards changes nothing; another torch goes on and the record says so."""

from __future__ import annotations

import os
import time

import pytest
import torch
from disturbed import hashes, study
from small_runs import small_spec, stopped_after

from noisybench.execute.work import Session
from noisybench.train import trainer
from noisybench.train.trainer import train


def test_a_clock_that_runs_backwards_changes_no_record(session, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "CHECKPOINT_COST", 0.0)
    runs = [small_spec({"training.epochs": 4})]
    runs.append(small_spec({"training.epochs": 4, "method.relabel": runs[0].run_id}))
    whole = Session(tmp_path / "whole", tmp_path / "data", None)
    study(whole, runs)
    ticks = [2e9]

    def back():
        ticks[0] -= 3600.0
        return ticks[0]

    stopped_after(runs[0], session.store, session.folder, 2)
    for path in session.root.rglob("*"):
        os.utime(path, (3e9, 3e9))  # all of it was written in a future
    monkeypatch.setattr(time, "time", back)
    events = []
    outcome, _ = study(session, runs, observe=events.append)
    assert outcome.exit_code == 0
    assert [event["epoch"] for event in events if event["type"] == "epoch"] == [3, 4, 1, 2, 3, 4]
    assert hashes(session.store, runs) == hashes(whole.store, runs)
    assert session.store.read_record(runs[0].run_id)["provenance"]["seconds"]["total"] >= 0


@pytest.mark.parametrize("again", [False, True])
def test_a_run_resumed_under_another_torch_goes_on_and_is_statistical(store, folder, monkeypatch, again):
    spec = small_spec({"training.epochs": 4})
    stopped_after(spec, store, folder, 1)
    before = str(torch.__version__)
    monkeypatch.setattr(torch, "__version__", "99.1")
    events = []
    if again:  # back under the first one: it stays what it has become
        stopped_after(spec, store, folder, 1)
        monkeypatch.setattr(torch, "__version__", before)
    record = train(spec, store, folder, observe=events.append)
    provenance = record["provenance"]
    assert record["result"]["status"] == "finished"
    assert provenance["bitwise"] is False
    assert [machine["torch"] for machine in provenance["environments"]] == [before, "99.1"]
    assert [event["epoch"] for event in events if event["type"] == "epoch"] == ([3, 4] if again else [2, 3, 4])
    told = [event["text"] for event in events if event["type"] == "log"]
    assert any(f"torch {before} -> 99.1" in text for text in told) is not again


def test_a_run_resumed_under_the_same_versions_stays_bitwise(store, folder):
    spec = small_spec()
    stopped_after(spec, store, folder, 1)
    provenance = train(spec, store, folder)["provenance"]
    assert (provenance["resumes"], provenance["bitwise"], len(provenance["environments"])) == (1, True, 1)
