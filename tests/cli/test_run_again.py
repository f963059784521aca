"""The page's commands repeat what a run was called with."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from noisybench.cli.app import main

SUITE = """
name: tiny
version: 1
dataset: {name: digits, train_subset: 100, test_subset: 50}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 8}
training: {epochs: 2, batch_size: 50}
methods: {SGD: {}, GCE: {loss: gce}}
"""


def noisybench(*arguments: str) -> int:
    before, sys.argv = sys.argv, ["noisybench", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def test_the_page_repeats_the_command_and_the_command_makes_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYBENCH_DATA", str(tmp_path / "data"))
    Path("my suite.yaml").write_text(SUITE, encoding="utf-8")
    Path("nothing new.py").write_text("", encoding="utf-8")
    given = ["my suite.yaml", "--set", "training.epochs=1", "--plugin", "nothing new.py", "--name", "other"]
    assert noisybench("run", *given, "--workers", "0", "--only", "method=SGD") == 0
    plan = Path("runs/other/plan.json")
    first = json.loads(plan.read_text(encoding="utf-8"))
    assert first["again"] == given
    page = html.unescape(Path("runs/other/report.html").read_text(encoding="utf-8"))
    told = [shlex.split(command) for command in re.findall(r"noisybench run [^<\n]*", page)]
    assert [*("noisybench", "run"), *given, "--only", "method=GCE"] in told
    assert noisybench("run", *given, "--workers", "0", "--only", "method=GCE") == 0
    assert json.loads(plan.read_text(encoding="utf-8")) == first
