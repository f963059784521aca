"""``noisybench run`` dies before any of its changes to the disk: plan, locks, runs, records, report."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest

from noisybench.store import Store

SUITE = """
name: mortal
version: 1
dataset: {name: digits, train_subset: 200, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 16}
training: {epochs: 2, batch_size: 50}
methods:
  SGD: {}
  Student: {relabel: SGD}
"""
PAGES = ("plan.json", "report.html", "report.md", "report.csv", "report.json")


def command(folder, number):
    """In a process of its own: the command, which dies before the ``number``-th change to the disk (0: lives)."""
    from noisybench.cli.app import main

    os.chdir(folder)
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
    sys.argv = ["noisybench", "run", "../mortal.yaml", "--workers", "0", "--data-dir", "../data"]
    with open("output", "w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        print(calls, file=out)
    os._exit(code)


def run(context, folder, number=0):
    """Exit code of the command in ``folder``, and what it printed."""
    folder.mkdir(exist_ok=True)
    process = context.Process(target=command, args=(folder, number))
    process.start()
    process.join()
    return process.exitcode, (folder / "output").read_text()


def results(folder):
    found = Store(folder / "runs" / "mortal").records()
    return {run_id: record["result_sha256"] for run_id, record, problem in found if problem is None}


@pytest.mark.parametrize("step", [pytest.param(110, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_a_command_that_dies_before_any_change_to_the_disk_goes_on(fast_workers, tmp_path, step):
    (tmp_path / "mortal.yaml").write_text(SUITE)
    code, output = run(fast_workers, tmp_path / "whole")
    assert code == 0, output
    expected, changes = results(tmp_path / "whole"), int(output.split()[-1])
    assert len(expected) == 2
    assert changes > 40
    for number in range(1, changes + 1, step):
        folder = tmp_path / f"{number}"
        assert run(fast_workers, folder, number)[0] == 9, number
        code, output = run(fast_workers, folder)
        assert code == 0, output
        assert results(folder) == expected, number
        store = folder / "runs" / "mortal"
        assert all((store / page).stat().st_size for page in PAGES)
        assert not list(store.glob("*/.*.tmp"))
        assert not list(store.rglob("*.corrupt"))
