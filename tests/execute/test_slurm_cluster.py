"""A real Slurm of one node: arrays, packing, jobs that are cancelled, requeued, out of time or killed; ``status``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import Cluster, NoSlurm

from noisybench.store import Store

pytestmark = pytest.mark.slurm
pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")

SUITE = """
name: study
version: 1
dataset: {name: digits, train_subset: 300, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 32}
training: {epochs: 6, batch_size: 50}
seeds: 2
methods:
  SGD: {}
  Student: {relabel: SGD}
"""
GATE = """
import time
from pathlib import Path
import noisybench.train.trainer as trainer

trainer.CHECKPOINT_SECONDS = trainer.CHECKPOINT_COST = 0.0
whole = trainer.Run.append_row

def wait(self, epoch, *rest):
    while epoch == 3 and not Path("gate").exists():
        time.sleep(0.05)
    whole(self, epoch, *rest)

trainer.Run.append_row = wait
"""
"""A plug-in: a checkpoint after every epoch, and nobody gets past the third before there is a file ``gate``."""
KILL = """
import os, signal, time
import noisybench.train.trainer as trainer

whole = trainer.Run.append_row

def die(self, epoch, *rest):
    if self.spec.seed == 1 and epoch == 2:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    whole(self, epoch, *rest)

trainer.Run.append_row = die
"""
"""A plug-in: a run of seed 1 kills the job it is in."""
SECONDS = 240


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
    except NoSlurm as error:
        made.stop()
        pytest.skip(str(error))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Run id -> hash of the result of a local run."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "study.yaml").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "noisybench", "run", "study.yaml", "--workers", "0"], cwd=folder, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return hashes(folder)


def hashes(folder):
    return {run_id: record["result_sha256"] for run_id, record in records(folder).items()}


def records(folder):
    found = {run_id: (record, problem) for run_id, record, problem in Store(folder / "runs" / "study").records()}
    assert all(problem is None for _, problem in found.values()), found
    return {run_id: record for run_id, (record, _) in found.items()}


class Place:
    """A folder with a suite, and commands in it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.started: list[subprocess.Popen[str]] = []
        (folder / "study.yaml").write_text(SUITE)
        (folder / "gate.py").write_text(GATE)
        (folder / "kill.py").write_text(KILL)
        (folder / "cluster.yaml").write_text("executor: slurm\nslurm: {grace: 30}\n")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command in the background."""
        with (self.folder / "output.txt").open("a") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "noisybench", *command],
                cwd=self.folder,
                env={**self.cluster.env, "COLUMNS": "200"},
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(process)
        return process

    def train(self, *options: str, slurm: str = "time=5") -> subprocess.Popen[str]:
        """``run`` on Slurm."""
        return self.start("run", "study.yaml", "--executor-config", "cluster.yaml", "--slurm", slurm, *options)

    def call(self, *command: str) -> tuple[int, str]:
        """A command's exit code and what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "noisybench", *command],
            cwd=self.folder,
            env={**self.cluster.env, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def output(self) -> str:
        """What the commands in the background have printed."""
        return (self.folder / "output.txt").read_text()

    def open_gate(self) -> None:
        """Let runs get past their third epoch."""
        (self.folder / "gate").touch()

    def at_the_gate(self, number: int = 1) -> bool:
        """True once so many runs have ended three epochs."""
        rows = [path.read_text().count("\n") for path in self.folder.glob("runs/study/*/epochs.jsonl")]
        return sum(row >= 3 for row in rows) >= number

    def jobs(self) -> dict[str, str]:
        """Living jobs of this user -> their state."""
        lines = self.cluster.call("squeue", "-h", "--array", "-o", "%i %T").stdout.split("\n")
        return dict(line.split() for line in lines if line)

    def shorten(self, jobs: list[str]) -> None:
        """Give running jobs so little time that they are told to save within a minute or so."""
        for job in jobs:
            ran = self.cluster.call("squeue", "-h", "-j", job, "-o", "%M").stdout.strip()
            minutes, seconds = ran.split(":")
            limit = -(-(int(minutes) * 60 + int(seconds) + 70) // 60)
            self.cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")

    def hurry(self) -> None:
        """Let requeued jobs start now, with time enough: Slurm would wait two minutes."""
        for job, state in self.jobs().items():
            if state == "PENDING":
                self.cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=10", check=False)

    def until(self, what, process: subprocess.Popen[str] | None = None) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < end, self.output()
            assert process is None or process.poll() is None, self.output()
            time.sleep(0.1)


@pytest.fixture
def place(tmp_path, cluster):
    made = Place(tmp_path, cluster)
    yield made
    made.open_gate()
    for process in made.started:
        process.kill()
        process.wait()
    for job in made.jobs():
        cluster.call("scancel", job, check=False)
    end = time.monotonic() + 30
    while made.jobs() and time.monotonic() < end:
        time.sleep(0.2)


def test_an_array_of_packed_jobs_gives_what_a_local_run_gives(place, expected):
    process = place.train("--runs-per-job", "2")
    assert process.wait(SECONDS) == 0, place.output()
    assert hashes(place.folder) == expected
    places = [record["provenance"]["place"] for record in records(place.folder).values()]
    assert {each["executor"] for each in places} == {"slurm"}
    assert len({each["job"] for each in places}) == 2, "teacher and student share an element"
    assert all((place.folder / "runs" / "study" / each["log"]).exists() for each in places)
    assert place.call("status", "runs/study") == (0, "study (runs/study): 4 runs: 4 finished.\n")


def test_a_parameter_that_slurm_does_not_take_is_one_line_and_nothing_is_left(place):
    process = place.train(slurm="time=5,partition=nowhere")
    assert process.wait(SECONDS) == 2
    last = place.output().strip().splitlines()[-1]
    assert last.startswith("noisybench: Slurm refuses the job: ")
    assert "partition" in last
    assert not list(place.folder.glob("runs/study/.jobs/*"))
    assert not place.jobs()


def test_a_cancelled_job_goes_on_in_another_and_a_requeued_one_from_its_checkpoint(place, expected):
    process = place.train("--plugin", "gate.py")
    place.until(lambda: place.at_the_gate(2), process)
    first, second = sorted(place.jobs())
    place.cluster.call("scancel", first)
    place.cluster.call("scontrol", "requeue", second)
    place.until(lambda: "was cancelled (CANCELLED" in place.output() and "was requeued" in place.output(), process)
    place.open_gate()
    place.until(lambda: place.hurry() or process.poll() is not None)
    assert process.returncode == 0, place.output()
    assert hashes(place.folder) == expected
    resumed = [record for record in records(place.folder).values() if record["provenance"]["resumes"]]
    assert len(resumed) == 2
    jobs = {record["provenance"]["place"]["job"] for record in resumed}
    assert second in jobs, "Slurm starts it again under its number"
    assert first not in jobs


def test_detached_jobs_save_at_their_time_limit_and_a_second_run_picks_them_up(place, expected):
    process = place.train("--plugin", "gate.py", "--detach")
    assert process.wait(SECONDS) == 0
    numbers = set(re.findall(r"scancel (\d+)", place.output()))
    place.until(lambda: place.at_the_gate(2))
    code, text = place.call("status", "runs/study")
    assert code == 0
    assert re.search(r"4 runs: 2 running, 2 queued", text), text
    assert re.search(r"running  SGD, symmetric 0.4, seed 1: epoch 3 of 6; on \S+, slurm job \d+_\d, since", text), text
    jobs = sorted(place.jobs())
    place.shorten(jobs)

    def restarted():
        shown = [place.cluster.call("scontrol", "show", "job", job).stdout for job in jobs]
        return all(re.search(r"Restarts=[1-9]", text) for text in shown)

    place.until(restarted)
    logs = [path.read_text() for path in place.folder.glob("runs/study/.jobs/*/*_log.err")]
    assert sum("this job is timed-out" in text for text in logs) == 2
    code, text = place.call("status", "runs/study")
    assert "queued" in text
    process = place.train("--plugin", "gate.py")
    place.open_gate()
    place.until(lambda: place.hurry() or process.poll() is not None)
    assert process.returncode == 0, place.output()
    assert hashes(place.folder) == expected
    jobs_used = {record["provenance"]["place"]["job"].partition("_")[0] for record in records(place.folder).values()}
    assert jobs_used == numbers, "nothing was submitted twice"
    assert sum(record["provenance"]["resumes"] for record in records(place.folder).values()) >= 2


def test_the_command_may_leave_and_a_local_one_works_beside_the_jobs(place, expected):
    process = place.train("--plugin", "gate.py", "--only", "seed=0")
    place.until(lambda: place.at_the_gate() and "running" in place.output(), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 130
    said = re.search(
        r"The jobs go on without this command; to cancel them: scancel (\d+); .*noisybench status", place.output()
    )
    assert said, place.output()
    assert len(place.jobs()) == 1
    place.start("run", "study.yaml", "--workers", "0", "--only", "seed=1").wait(SECONDS)
    assert {record["result"]["spec"]["seed"] for record in records(place.folder).values()} == {1}
    assert len(records(place.folder)) == 2
    place.open_gate()
    code, text = place.call("status", "runs/study", "--watch", "--every", "0.5")
    assert code == 0
    assert text.splitlines()[-1] == "study (runs/study): 4 runs: 4 finished."
    assert hashes(place.folder) == expected


def test_a_run_that_kills_its_job_again_and_again_fails_with_the_reason_and_a_log(place):
    process = place.train("--plugin", "kill.py", "--runs-per-job", "4")
    assert process.wait(SECONDS) == 1, place.output()
    found = records(place.folder)
    failed = [record for record in found.values() if record["result"]["status"] == "failed"]
    assert [record["result"]["spec"]["seed"] for record in failed] == [1], "the others of its job do not suffer"
    assert sum(record["result"]["status"] == "finished" for record in found.values()) == 2
    told = failed[0]["provenance"]
    assert re.match(
        r"its job .*(signal 9|code \d+).*, 3 times( without a newer checkpoint in between)?; the last was \d+",
        told["error"],
    ), told["error"]
    assert (place.folder / "runs" / "study" / told["place"]["log"]).exists()
    code, text = place.call("status", "runs/study")
    assert code == 1
    assert re.search(rf"failed   SGD, symmetric 0.4, seed 1: {re.escape(told['error'])}; see \S+_log.err", text), text
    assert "blocked  Student, symmetric 0.4, seed 1" in text


def test_root_is_needed_and_said(monkeypatch):
    import slurm_cluster

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoSlurm, match="root"):
        slurm_cluster.require()
