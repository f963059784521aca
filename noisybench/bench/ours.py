"""noisybench's own loop, as ``noisybench run`` has it, an epoch at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from noisybench.data import DataFolder
from noisybench.store import Store
from noisybench.suite import load_suite
from noisybench.train.capture import WARM_UP
from noisybench.train.numerics import choose_numerics, settle_cuda
from noisybench.train.setup import gather
from noisybench.train.trainer import Run

SUITE = """
name: bench
version: 1
dataset: {{name: synthetic, height: {side}, width: {side}, train_size: {train}, test_size: {test}}}
noise: {{kind: symmetric, flip: exclusive, rate: 0.4}}
model: {model}
training:
  epochs: {epochs}
  batch_size: {batch_size}
  drop_last: true
  optimizer: {optimizer}
  augment: [crop, flip]
  precision: {precision}
  compile: {compile}
  diagnostics: off
seeds: {seeds}
methods: {{SGD: {{}}}}
"""
OPTIMIZERS = {
    "sgd": "{name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 5e-4}",
    "sam": "{name: sam, rho: 0.1, base: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 5e-4}}",
}


@dataclass(frozen=True)
class Setting:
    """What is trained, and how."""

    model: str = "resnet32"
    optimizer: str = "sgd"
    precision: str = "auto"
    compile: str = "off"
    batch_size: int = 128
    side: int = 32
    train: int = 2560
    test: int = 500
    epochs: int = 1000
    seeds: int = 1
    device: str = "cpu"
    threads: int = 1
    graphs: bool = True
    """On a GPU: steps captured as CUDA graphs."""

    def suite(self) -> str:
        """As a suite file."""
        names = ("model", "precision", "compile", "batch_size", "side", "train", "test", "epochs", "seeds")
        return SUITE.format(optimizer=OPTIMIZERS[self.optimizer], **{name: getattr(self, name) for name in names})

    @property
    def name(self) -> str:
        """For a table: ``bf16``, ``bf16, compiled``, on a GPU also ``bf16, no graphs``."""
        graphs = "" if self.graphs or not self.device.startswith("cuda") else ", no graphs"
        return self.precision + (", compiled" if self.compile == "on" else "") + graphs

    def computed(self, precision: str, compile: str = "off", graphs: bool = True) -> Setting:
        """The same with other numerics."""
        return replace(self, precision=precision, compile=compile, graphs=graphs)


class OwnLoop:
    """A run of a setting that is never finished. ``folder`` takes what it writes."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting, self.epochs = setting, 0
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "bench.yaml"
        path.write_text(setting.suite(), encoding="utf-8")
        self.spec = load_suite(path).expand().runs[0]
        store = Store(folder / "store")
        torch.set_num_threads(setting.threads)
        materials = gather(self.spec.data, DataFolder(folder, folder), store)
        self.data = materials.dataset
        numerics = choose_numerics(
            self.spec.data["training"],
            self.spec.data["model"],
            self.data.shape,
            self.data.num_classes,
            setting.device,
            setting.threads,
        )
        settle_cuda(numerics.device)
        numerics = replace(numerics, capture=numerics.capture and setting.graphs)
        self.run = Run(self.spec, store, materials, numerics, lambda event: None, lambda: None, "no")
        store.write_spec(self.spec)

    def epoch(self) -> float:
        """Images a second of one epoch, training alone."""
        return self.setting.train // self.setting.batch_size * self.setting.batch_size / self.seconds()["train"]

    def seconds(self) -> dict[str, float]:
        """Seconds of one more epoch by activity: train, evaluate."""
        torch.set_num_threads(self.setting.threads)
        before = dict(self.run.clock.seconds)
        self.run.train_one_epoch(self.epochs)
        self.run.progress.rows.clear()
        self.epochs += 1
        return {name: value - before[name] for name, value in self.run.clock.seconds.items()}

    def bare_seconds(self) -> float:
        """Seconds of as many steps on one batch that lies ready: forward, backward, optimiser, nothing else. Where the
        loop captures its steps, so are these."""
        torch.set_num_threads(self.setting.threads)
        algorithm, task = self.run.algorithm, self.run.task
        loader = algorithm.loader(self.run.phases[0])
        algorithm.begin_epoch(0, loader)
        batch = next(iter(task.batches(loader, 0)))
        with task.steps(algorithm, self.setting.batch_size) as step:
            for _ in range(WARM_UP + 1 if task.numerics.capture else 0):
                step(batch)
            _settled(task.device)
            start = time.perf_counter()
            for _ in range(len(loader)):
                step(batch)
            _settled(task.device)
            return time.perf_counter() - start


def _settled(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
