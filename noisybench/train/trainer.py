"""One run from its spec to its record: the loop, read top to bottom."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisybench import registry
from noisybench.data import DataFolder
from noisybench.methods.algorithm import Algorithm, Phase
from noisybench.methods.task import Numerics, Task
from noisybench.optim import build_schedule
from noisybench.seeding import derive
from noisybench.spec import RunSpec
from noisybench.store import Store, append_text, write_atomic
from noisybench.train import checkpoint, origin, record
from noisybench.train.averaging import Averaging
from noisybench.train.capture import CapturedSteps, graphs_for
from noisybench.train.evaluation import diagnostic_index, evaluate_epoch
from noisybench.train.machine import environment, now
from noisybench.train.numerics import choose_numerics, settle_cuda
from noisybench.train.setup import Materials, gather, make_task, make_truth

CHECKPOINT_SECONDS = 5.0
CHECKPOINT_COST = 30.0
"""A checkpoint is written once 5 seconds and 30 times the cost of the last one have passed."""

Observer = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop; the run is resumable."""


@dataclass
class Clock:
    """Seconds spent per activity."""

    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0, "checkpoint": 0.0})

    @contextmanager
    def measure(self, what: str, device: torch.device) -> Iterator[None]:
        """Add the time of the block, devices synchronised, to ``what``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self.seconds[what] += time.perf_counter() - start


@dataclass
class Progress:
    """What a checkpoint keeps beside the algorithm: rows so far, counts, seconds, numerics."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    gradient_evaluations: int = 0
    images: int = 0
    resumes: int = 0
    started: str = ""
    environments: list[dict[str, str]] = field(default_factory=list)  # versions and processors trained under


def train(
    spec: RunSpec,
    store: Store,
    folder: DataFolder,
    *,
    device: str = "cpu",
    threads: int = 1,
    observe: Observer = lambda event: None,
    stop_after: Callable[[], float | None] = lambda: None,
    keep_weights: str = "auto",
    place: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train, or resume, one run and write its record, which is returned.

    ``observe`` gets one event an epoch. ``stop_after`` tells when (``time.monotonic``) an epoch must be given up
    because somebody asked the run to stop, None while nobody did; Interrupted is raised then, after a checkpoint
    where one could be had. ``keep_weights``: all, auto (below 16 MB) or no. ``place``: what the record says of where
    it ran beside host and device (executor, node, job). The caller holds the run's lock.
    """
    torch.set_num_threads(threads)
    home = store.folder(spec.run_id)
    origin.forget(home)  # of an earlier start, perhaps from other data
    materials = gather(spec.data, folder, store)
    saved, problems = checkpoint.load(home, device=device)
    if saved is not None and saved["run"] != _identity(spec, materials):
        problems.append(f"{home}: its checkpoint was made from other data or labels; set aside, the run starts anew")
        record.set_checkpoint_aside(home)
        saved = None
    for problem in problems:
        observe({"type": "log", "run_id": spec.run_id, "text": problem})
    origin.note(home, materials)
    if saved is not None:
        numerics = Numerics(**{**saved["numerics"], "device": device})
        torch.set_num_threads(numerics.threads)
    else:
        dataset = materials.dataset
        numerics = choose_numerics(
            spec.data["training"],
            spec.data["model"],
            dataset.shape,
            dataset.num_classes,
            device,
            threads,
            images=len(materials.index),
            static=getattr(registry.get("algorithm", _algorithm(spec)).target, "capturable", False),
        )
    settle_cuda(numerics.device)
    run = Run(spec, store, materials, numerics, observe, stop_after, keep_weights, place)
    if saved is None:
        store.write_spec(spec)
        (home / "epochs.jsonl").unlink(missing_ok=True)
    else:
        mended = store.mend_spec(spec)
        if mended:
            observe({"type": "log", "run_id": spec.run_id, "text": mended})
        run.restore(saved)
    run.note_environment()
    return run.complete()


def _identity(spec: RunSpec, materials: Materials) -> dict[str, Any]:
    teacher = materials.teacher
    return {
        "run_id": spec.run_id,
        "fingerprint": materials.dataset.fingerprint,
        "noise": materials.noise.sha256,
        "open_set": materials.open_set.sha256,
        "relabel": None if teacher is None else teacher.sha256,
    }


def _algorithm(spec: RunSpec) -> str:
    return str(spec.data["method"]["algorithm"]["name"])


class Run:
    """A run in progress."""

    def __init__(
        self,
        spec: RunSpec,
        store: Store,
        materials: Materials,
        numerics: Numerics,
        observe: Observer,
        stop_after: Callable[[], float | None],
        keep_weights: str,
        place: Mapping[str, str] | None = None,
    ) -> None:
        self.spec, self.store, self.materials = spec, store, materials
        self.observe, self.stop_after = observe, stop_after
        self.keep_weights, self.place = keep_weights, dict(place or {})
        self.home: Path = store.folder(spec.run_id)
        self.device = torch.device(numerics.device)
        self.training: Mapping[str, Any] = spec.data["training"]
        self.task: Task = make_task(materials, numerics, self._give_up_when_late)
        self.task.log = self._log
        graphs = graphs_for(numerics)
        if graphs is not None:
            self.task.capture = CapturedSteps(self.task, graphs)
        self.truth, self.test = make_truth(materials, self.device)
        self.sample = diagnostic_index(self.task, self.truth, self.training["diagnostics"])
        self.averaging = Averaging(self.task, materials.spec["method"].get("averaging"))
        params = dict(materials.spec["method"]["algorithm"])
        self.algorithm: Algorithm = registry.get("algorithm", params.pop("name")).build(self.task, **params)
        self.phases: list[Phase] = self.algorithm.phases(self.training)
        self.epochs = sum(phase.epochs for phase in self.phases)
        self.clock, self.progress = Clock(), Progress(started=now())
        self._saved_at, self._save_cost = time.monotonic(), 0.0

    @property
    def numerics(self) -> Numerics:
        """How the run computes: as chosen at its start, less what turned out not to work."""
        return self.task.numerics

    # -- the loop ---------------------------------------------------------------------------------------------------

    def complete(self) -> dict[str, Any]:
        """Train the remaining epochs, then write predictions, weights, curves and, last, the record."""
        while len(self.progress.rows) < self.epochs:
            self.train_one_epoch(len(self.progress.rows))
            if not self.loss_is_finite():
                return record.write(self, "diverged")
            self.save_when_due()
        return record.write(self, "finished")

    def train_one_epoch(self, epoch: int) -> None:
        """Train, evaluate, and append the epoch's row."""
        number, phase, within = self.phase_of(epoch)
        with self.clock.measure("train", self.device), torch.random.fork_rng(devices=self._rng_devices()):
            torch.manual_seed(derive(self.spec.seed, "dropout", epoch))
            self.task.set_pace(epoch, self.pace(phase, epoch, within), within, phase.epochs)
            if within == 0:
                self.algorithm.begin_phase(number, phase)
            loader = self.algorithm.loader(phase)
            self.averaging.begin_epoch(within if phase is self.phases[-1] else None, phase.epochs)
            loss = self.algorithm.train_epoch(epoch, loader)
            self.averaging.end_epoch()
            if epoch == self.epochs - 1:
                self.averaging.settle(epoch, loader.index)
                self.algorithm.finish()
        self.progress.images += loader.images_per_epoch
        with self.clock.measure("evaluate", self.device), self.averaging.lent(epoch, loader.index):
            row = evaluate_epoch(self.task, self.algorithm.predict, self.test, self.truth, self.sample)
            self.append_row(epoch, phase, {"train_loss": loss, **row})

    def phase_of(self, epoch: int) -> tuple[int, Phase, int]:
        """Number of the phase an epoch lies in, the phase, and the epoch's number inside it."""
        for number, phase in enumerate(self.phases):
            if epoch < phase.epochs:
                return number, phase, epoch
            epoch -= phase.epochs
        raise IndexError(epoch)

    def pace(self, phase: Phase, epoch: int, within: int) -> Callable[[float, float], float]:
        """The learning-rate factor at a share of this epoch: the phase's own rule or the suite's schedule, times a
        linear warm-up that reaches 1 with the last step of epoch ``training.warmup``."""
        params = dict(self.training["schedule"])
        schedule, warmup = build_schedule(params.pop("name"), **params), self.training["warmup"]

        def factor(share: float, step: float) -> float:
            own = phase.factor(within + share) if phase.factor else schedule(within + share, phase.epochs)
            return own * (min(1.0, (epoch + share + step) / warmup) if warmup else 1.0)

        return factor

    def append_row(self, epoch: int, phase: Phase, scalars: dict[str, Tensor]) -> None:
        """Read the epoch's scalars from the device, once, and keep them."""
        values = torch.stack([value.detach().double().to(self.device) for value in scalars.values()]).cpu().tolist()
        row = {"epoch": epoch + 1, "phase": phase.name, "learning_rate": self.task.learning_rate}
        row |= dict(zip(scalars, values, strict=True))
        self.progress.rows.append(row)
        self.progress.gradient_evaluations = self.task.gradient_evaluations
        self.store.check(self.spec.run_id)
        append_text(self.home / "epochs.jsonl", json.dumps(row) + "\n")
        self.observe({"type": "epoch", "run_id": self.spec.run_id, "epochs": self.epochs, **row})

    def loss_is_finite(self) -> bool:
        """False when the last epoch's training or test loss is not a number one can go on from."""
        row = self.progress.rows[-1]
        return math.isfinite(row["train_loss"]) and math.isfinite(row["test_loss"])

    # -- stopping and saving ----------------------------------------------------------------------------------------

    def _give_up_when_late(self) -> None:
        deadline = self.stop_after()
        if deadline is not None and time.monotonic() > deadline:
            raise Interrupted(self.spec.run_id)

    def save_when_due(self) -> None:
        """A checkpoint at an epoch end, when one is due or somebody asked the run to stop (then Interrupted)."""
        stopping = self.stop_after() is not None
        waited = time.monotonic() - self._saved_at
        due = waited >= max(CHECKPOINT_SECONDS, CHECKPOINT_COST * self._save_cost)
        if stopping or (due and len(self.progress.rows) < self.epochs):
            self.check_writable()
            start = time.monotonic()
            with self.clock.measure("checkpoint", self.device):
                checkpoint.save(self.home, self.state(), check=not self._save_cost)
            self._saved_at = time.monotonic()
            self._save_cost = self._saved_at - start
        if stopping:
            raise Interrupted(self.spec.run_id)

    def check_writable(self) -> None:
        """StoreError where the run's folder vanished or another process has taken the run over."""
        self.store.require()
        self.store.check(self.spec.run_id)

    def note_environment(self) -> None:
        """Keep under which versions and on which processor the run goes on; a second one ends bitwise equality."""
        here = environment(self.numerics.device)
        known = self.progress.environments
        if known and here not in known:
            changes = [f"{k} {known[-1].get(k)} -> {v}" for k, v in here.items() if known[-1].get(k) != v]
            changed = ", ".join(changes)
            text = f"goes on under other versions or another processor ({changed}): its record is no longer bitwise"
            self.observe({"type": "log", "run_id": self.spec.run_id, "text": text})
        if here not in known:
            known.append(here)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "run": _identity(self.spec, self.materials),
            "algorithm": self.algorithm.state_dict(),
            "averaging": self.averaging.state_dict(self.algorithm),
            "progress": asdict(self.progress),
            "seconds": dict(self.clock.seconds),
            "numerics": asdict(self.numerics),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; ``epochs.jsonl`` is rewritten from its rows."""
        self.algorithm.load_state_dict(saved["algorithm"])
        if "averaging" in saved:
            self.averaging.load_state_dict(saved["averaging"], self.algorithm)
        self.progress = Progress(**saved["progress"])
        self.progress.resumes += 1
        self.task.gradient_evaluations = self.progress.gradient_evaluations
        self.clock.seconds = dict(saved["seconds"])
        lines = "".join(json.dumps(row) + "\n" for row in self.progress.rows)
        write_atomic(self.home / "epochs.jsonl", lines.encode(), parents=False)
        text = f"resumed after epoch {len(self.progress.rows)} of {self.epochs}"
        self.observe({"type": "log", "run_id": self.spec.run_id, "text": text})

    def _log(self, text: str) -> None:
        self.observe({"type": "log", "run_id": self.spec.run_id, "text": text})

    def _rng_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []
