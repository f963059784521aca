"""A small study, what it gives when nothing disturbs it, and workers that start fast."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest
from disturbed import small_study, study

from noisybench.execute import hand
from noisybench.execute.work import Session
from noisybench.store import Store

OFTEN = """
import noisybench.train.trainer as trainer

trainer.CHECKPOINT_SECONDS = trainer.CHECKPOINT_COST = 0.0
"""


@pytest.fixture
def session(store, tmp_path):
    return Session(store.root, tmp_path / "data", None)


@pytest.fixture(scope="session")
def often(tmp_path_factory) -> str:
    """A plug-in that makes workers write a checkpoint after every epoch."""
    path = tmp_path_factory.mktemp("plugins") / "often.py"
    path.write_text(OFTEN)
    return str(path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Store and runs of the small study, trained without anything in its way."""
    root = tmp_path_factory.mktemp("undisturbed")
    runs = small_study()
    outcome, _ = study(Session(root / "study", root / "data", None), runs)
    assert outcome.exit_code == 0
    return Store(root / "study"), runs


@pytest.fixture
def fast_workers(monkeypatch):
    """Workers forked from a process that has imported everything and computed nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    multiprocessing.set_forkserver_preload(["warm"])
    monkeypatch.setattr(hand, "START_METHOD", "forkserver")
    main = sys.modules["__main__"]  # workers need not import what started the tests
    monkeypatch.setattr(main, "__spec__", None, raising=False)
    monkeypatch.delattr(main, "__file__", raising=False)
    return multiprocessing.get_context("forkserver")
