"""Ray's own memory monitor kills a worker: its run goes on from its last checkpoint."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ray_study import Nodes

pytest.importorskip("ray")
pytestmark = pytest.mark.ray

GIB = 2**30
ROOM = 4 * GIB
"""What may be taken before the monitor acts; other processes of the machine are to take less meanwhile."""
SUITE = """
name: hungry
version: 1
dataset: {name: digits, train_subset: 300, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 16}
training: {epochs: 4, batch_size: 50, precision: fp32}
methods: {SGD: {}}
"""
HUNGRY = """
import pathlib
import time

import noisybench.train.trainer as trainer

trainer.CHECKPOINT_SECONDS = trainer.CHECKPOINT_COST = 0.0
train_one_epoch = trainer.Run.train_one_epoch
marker = pathlib.Path("MARKER")


def available():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def hungrily(run, epoch):
    if epoch == 2 and not marker.exists():
        marker.touch()
        time.sleep(2.5)  # its checkpoint is on its way
        held = []
        while available() > 2**30:
            held.append(bytearray(b"x") * 2**26)
            time.sleep(0.02)
        raise MemoryError("the monitor let it take everything")
    train_one_epoch(run, epoch)


trainer.Run.train_one_epoch = hungrily
"""


def memory() -> tuple[int, int]:
    """Bytes of this machine, and how many of them are available."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        pytest.skip("this system does not say how much memory there is")
    total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    with contextlib.suppress(OSError, ValueError):
        if int(Path("/sys/fs/cgroup/memory.max").read_text()) < total:
            pytest.skip("a container limits the memory, and Ray goes by that limit")
    if available < ROOM + 2 * GIB:
        pytest.skip("there is too little memory here to run out of some of it")
    return total, available


def test_a_worker_that_is_killed_for_memory_costs_little(tmp_path):
    total, available = memory()
    (tmp_path / "hungry.yaml").write_text(SUITE)
    (tmp_path / "hungry.py").write_text(HUNGRY.replace("MARKER", str(tmp_path / "eaten")))
    settings = {"checkpoint_every": 0.0, "shared": "no"}
    command = [sys.executable, "-m", "noisybench", "run", "hungry.yaml"]
    limits = {"memory_usage_threshold": (total - available + ROOM) / total, "memory_monitor_refresh_ms": 100}
    nodes = Nodes(1, join=False, _system_config=limits)
    try:
        (tmp_path / "cluster.yaml").write_text(json.dumps({"ray": {"address": nodes.address, **settings}}))
        options = ["--executor", "ray", "--executor-config", "cluster.yaml", "--plugin", "hungry.py"]
        done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    finally:
        nodes.down()
    assert done.returncode == 0, done
    assert "its worker was killed by Ray, as its node was running out of memory" in done.stdout
    assert "resumed after epoch 2 of 4" in done.stdout
    subprocess.run([*command, "--runs", "local", "--workers", "0"], cwd=tmp_path, check=True, capture_output=True)
    found = [json.loads(path.read_text())["result_sha256"] for path in tmp_path.glob("*/hungry/*/record.json")]
    assert len(found) == 2
    assert found[0] == found[1]
