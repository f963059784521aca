"""What one element of a job array does: train its runs, several at once; save and requeue when Slurm wants it to end.

Slurm announces the end of a job in one of two ways. Before a time limit, submitit's signal (SIGUSR2, or what
SUBMITIT_PREEMPT_SIGNAL says) comes ``grace`` seconds early: runs end their epoch and save, and the job is requeued by
submitit. SIGTERM means that it was cancelled, is requeued by Slurm, or is preempted with some time left: runs save, and
only a job that Slurm still calls running is requeued. A job whose runs do not end a single epoch within its time limit
is not requeued: it never would.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from noisybench.execute.executor import Stop
from noisybench.execute.local import Local
from noisybench.execute.queue import Queue
from noisybench.execute.resources import Machine, choose_workers, cores, free_memory, this_machine
from noisybench.execute.slurm import questions
from noisybench.execute.slurm.ledger import Ledger, log_path
from noisybench.execute.slurm.parameters import EARLY
from noisybench.execute.work import Event, Session, load_code, load_plugins
from noisybench.spec import RunSpec

BUSY, TEACHER, STOPPED = "another process has it", "its teacher is not finished", "stopped"
"""Why a job did not settle a run."""
TERM_EPOCH, TERM_SAVE = 5.0, 10.0
"""Seconds for an epoch and for saving once SIGTERM came: KillWait is 30 by default."""
ENDING = ("RUNNING",)
"""States in which a job that got SIGTERM ends for good unless it is requeued: preempted, or its node goes down."""


@dataclass
class JobQueue(Queue):
    """A queue that waits for nobody outside: what another process holds, or whose teacher is elsewhere, is left."""

    left: dict[str, str] = field(default_factory=dict)  # run id -> why

    def put_off(self, spec: RunSpec) -> None:
        """Leave a run that another process holds, and what waits for it."""
        self.leave(spec.run_id, BUSY)

    def leave(self, run_id: str, why: str) -> None:
        """Leave a run and, directly or not, its students."""
        self.left[run_id] = why
        teachers = [run_id]
        while teachers:
            teacher = teachers.pop()
            for spec in self.take_students(teacher):
                self.left[spec.run_id] = TEACHER
                teachers.append(spec.run_id)


@dataclass
class PackedRuns:
    """The function that submitit calls in a job. ``name``: of the submission in the store's bookkeeping."""

    session: Session
    name: str
    runs: tuple[tuple[str, Mapping[str, Any]], ...]
    minutes: int
    grace: float
    workers: str = "auto"
    timeout: float | None = None

    def checkpoint(self) -> Any:
        """What a requeued job does: the same. Runs go on from their own checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> dict[str, str]:
        """Run id -> why this job did not settle it."""
        stop, began = Stop(), time.monotonic()
        ledger, job = Ledger(self.session.root), job_name()
        ledger.forget_end(self.name, job)
        with Announced(stop, self.grace) as announced:
            settled: set[str] = set()
            moved: list[str] = []

            def observe(event: Event) -> None:
                if event["type"] in ("settled", "blocked"):
                    settled.add(event["run_id"])
                if event["type"] in ("settled", "epoch"):
                    moved.append(event["run_id"]) if not moved else None
                if event["type"] != "epoch":
                    text = event.get("text") or event.get("error") or event.get("status") or ""
                    print(f"{event['type']} {event['run_id']} {text}".rstrip(), flush=True)

            queue = JobQueue([RunSpec(dict(data), run_id) for run_id, data in self.runs], set())
            broken = self._work(job, queue, observe, stop)
            stopped = {run_id: STOPPED for run_id, _ in self.runs if run_id not in settled}
            left = {run_id: why for run_id, why in (stopped | queue.left).items() if run_id not in settled}
            told: dict[str, Any] = {"left": left, "broken": broken, "saved": False, "why": None}
            if stop.requested and left and not broken:
                self._requeue(announced, job, bool(moved), time.monotonic() - began, told)
            ledger.write_end(self.name, job, told)
        return left

    def _work(self, job: str, queue: JobQueue, observe: Callable[[Event], None], stop: Stop) -> str | None:
        from noisybench.errors import NoisybenchError
        from noisybench.train.numerics import choose_device

        try:
            load_code(self.session)
            load_plugins(self.session.plugins)
            place = {"executor": "slurm", "job": job, "node": node_name(), "log": log_path(self.name, job)}
            device = choose_device(self.session.device)
            session = replace(self.session, device=device, place=place)
            finished(session, queue)
            machine = job_machine(device, os.environ)
            crew = choose_workers(self.workers, queue.waiting, session.folder, device, session.threads, machine)
        except (NoisybenchError, OSError) as error:
            return str(error)
        count = max(1, crew.count)  # this process itself must be free to hear signals
        print(f"{len(queue.waiting)} runs, {count} at once, on {device}", flush=True)
        return Local(count, self.timeout).work(session, queue, observe, stop)

    def _requeue(self, announced: Announced, job: str, moved: bool, seconds: float, told: dict[str, Any]) -> None:
        """Requeue this job where that is right; does not return then."""
        limit = self.minutes * 60 - self.grace - EARLY - 30.0  # what lies before this was no time limit
        timed_out = announced.number != signal.SIGTERM and seconds >= limit
        if timed_out and not moved:
            told["why"] = f"its time limit ({self.minutes} min) is too short for one epoch"
            return
        if announced.number == signal.SIGTERM:
            try:
                found = questions.queue().get(job)
            except questions.NoAnswer:
                return
            if found is None or found.state not in ENDING:
                return
        told["saved"] = True
        if announced.requeue is None:
            told["why"] = "nobody requeues it"
            return
        try:
            announced.requeue(announced.number, None)  # submitit's: keeps the job's function, requeues, exits
        except (subprocess.SubprocessError, OSError, RuntimeError) as error:
            told["why"] = f"it cannot be requeued ({error})"


class Announced:
    """While entered, signals that announce the end of this job ask for a stop. ``number``: the first that came;
    ``requeue``: submitit's handler, None where submitit did not start this process."""

    def __init__(self, stop: Stop, grace: float) -> None:
        self.number = 0
        self.requeue: Callable[[int, Any], None] | None = None
        self._stop, self._grace = stop, grace
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Announced:
        early = preemption_signal()
        handler = signal.getsignal(early)
        self.requeue = handler if callable(handler) else None
        for number in (early, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *details: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: Any) -> None:
        if self.number:
            return
        self.number = number
        if number == signal.SIGTERM:
            self._stop.request(TERM_EPOCH, TERM_SAVE)
        else:
            self._stop.request(self._grace / 2, self._grace / 4)


def preemption_signal() -> signal.Signals:
    """The signal that submitit asks Slurm to send before a time limit."""
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


def finished(session: Session, queue: JobQueue) -> None:
    """Note which teachers of the queue's runs are finished, and leave the students of those that are elsewhere."""
    here = {spec.run_id for spec in queue.waiting}
    for teacher in {str(spec.teacher) for spec in queue.waiting if spec.teacher not in (None, *here)}:
        record, _ = session.store.settled(teacher)
        if record is not None and record["result"]["status"] == "finished":
            queue.finished.add(teacher)
            continue
        for spec in queue.take_students(teacher):
            queue.leave(spec.run_id, TEACHER)


def job_machine(device: str, env: Mapping[str, str]) -> Machine:
    """What this job may use of its node."""
    count, memory = cores(), free_memory()
    if env.get("SLURM_CPUS_ON_NODE", "").isdigit():
        count = max(1, min(count, int(env["SLURM_CPUS_ON_NODE"])))
    for name, times in (("SLURM_MEM_PER_NODE", 1), ("SLURM_MEM_PER_CPU", count)):
        if env.get(name, "").isdigit() and int(env[name]) > 0:
            memory = min(memory, int(env[name]) * times * 2**20)
    return Machine(count, memory, this_machine(device).gpu_memory if device.startswith("cuda") else None)


def job_name() -> str:
    """This job as Slurm prints it: ``123_4``, or ``123`` outside an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "0")


def node_name() -> str:
    """This node as Slurm calls it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
