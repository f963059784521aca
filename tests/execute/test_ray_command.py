"""``noisybench run --executor ray`` is killed, or asked to stop: the same command goes on from what had arrived."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_study import pausing, wait_for

pytest.importorskip("ray")
pytestmark = pytest.mark.ray

SUITE = """
name: study
version: 1
dataset: {name: digits, train_subset: 300, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 16}
training: {epochs: 8, batch_size: 50, precision: fp32}
seeds: 2
methods: {SGD: {}}
"""


def command(tmp_path: Path, *options: str) -> list[str]:
    """The study, in tmp_path."""
    (tmp_path / "study.yaml").write_text(SUITE)
    return [sys.executable, "-m", "noisybench", "run", "study.yaml", *options]


def on_cluster(tmp_path: Path, address: str, pause: float, shared: str) -> list[str]:
    settings = {"executor": "ray", "ray": {"address": address, "checkpoint_every": 0.0, "shared": shared}}
    (tmp_path / "cluster.yaml").write_text(json.dumps(settings))
    return command(tmp_path, "--executor-config", "cluster.yaml", "--plugin", pausing(tmp_path, pause))


def start(arguments: list[str], tmp_path: Path) -> subprocess.Popen[str]:
    """The command, once both runs have left a checkpoint."""
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )

    def begun() -> bool:
        assert process.poll() is None, process.communicate()
        return len(list(tmp_path.glob("runs/study/*/checkpoint.pt"))) == 2

    wait_for(begun)
    return process


def state(tmp_path: Path) -> dict[str, tuple[int, int]]:
    """Every file of every run: when it was written, and its size."""
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.glob("runs/study/*/*") if p.is_file()}


def records(tmp_path: Path) -> dict[str, dict]:
    return {p.parent.name: json.loads(p.read_text()) for p in tmp_path.glob("runs/study/*/record.json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, str]:
    """Run id -> hash, from a local run of the same suite."""
    folder = tmp_path_factory.mktemp("local")
    subprocess.run(command(folder, "--workers", "0"), cwd=folder, check=True, capture_output=True)
    return {run_id: record["result_sha256"] for run_id, record in records(folder).items()}


@pytest.mark.parametrize("shared", ["no", pytest.param("yes", marks=pytest.mark.slow)])
def test_a_command_that_was_killed_goes_on_from_its_checkpoints(nodes, tmp_path, undisturbed, shared):
    process = start(on_cluster(tmp_path, nodes.address, 1.0, shared), tmp_path)
    process.kill()
    process.communicate()
    if shared == "no":  # its tasks may still be there; nothing they do reaches the store
        time.sleep(0.5)
        before = state(tmp_path)
        time.sleep(2.5)
        assert state(tmp_path) == before
    assert not records(tmp_path)
    again = subprocess.run(on_cluster(tmp_path, nodes.address, 0.0, shared), cwd=tmp_path, capture_output=True)
    assert again.returncode == 0, again.stderr
    found = records(tmp_path)
    assert {run_id: record["result_sha256"] for run_id, record in found.items()} == undisturbed
    assert all(record["provenance"]["resumes"] == 1 for record in found.values())
    assert again.stdout.count(b"resumed after epoch") == 2


ONE_OF_EACH = [("yes", signal.SIGINT), pytest.param("no", signal.SIGTERM, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("shared", "number"), ONE_OF_EACH)
def test_a_signal_keeps_what_ends_in_time(nodes, tmp_path, shared, number):
    from noisybench.train import checkpoint

    process = start(on_cluster(tmp_path, nodes.address, 1.5, shared), tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "Go on with the same command" in out
    assert "Traceback" not in err
    assert not records(tmp_path), "an interrupted run is not settled"
    for home in [path.parent for path in tmp_path.glob("runs/study/*/spec.json")]:
        assert checkpoint.load(home, device="cpu")[1] == []
        assert checkpoint.epochs_done(home) == len((home / "epochs.jsonl").read_text().splitlines())
