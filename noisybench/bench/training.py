"""Images a second of noisybench's loop and of the textbook's, taking turns; what the loop adds to the bare step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from noisybench.bench.ours import OwnLoop, Setting
from noisybench.bench.textbook import TextbookLoop
from noisybench.bench.timing import Spread, in_turns, ratio
from noisybench.data import Dataset
from noisybench.execute.estimate import Sizes, multiply_adds

TEXTBOOK = "textbook, fp32"


@dataclass(frozen=True)
class Speed:
    """One way to train one network: images a second, and the ratio to the textbook loop's of the same turn.

    ``utilisation``: operations of the forward and backward passes (3 x 2 a multiply-add, twice that for SAM) over the
    rate of a matrix product in the same precision on the same threads; None for the textbook loop.
    """

    model: str
    optimizer: str
    way: str
    images_per_second: Spread
    ratio: Spread
    utilisation: float | None


def measure_training(
    settings: Sequence[tuple[str, str]],
    ways: Sequence[tuple[str, str, bool]],
    base: Setting,
    repeats: int,
    folder: Path,
    rates: dict[str, float],
) -> list[Speed]:
    """``settings``: (model, optimizer); ``ways``: (precision, compile, captured on a GPU); ``rates``: operations a
    second by precision."""
    found = []
    for model, optimizer in settings:
        setting = replace(base, model=model, optimizer=optimizer)
        loops = {}
        for number, way in enumerate(ways):
            one = setting.computed(*way)
            loops[one.name] = OwnLoop(one, folder / f"{model}-{optimizer}-{number}")
        data = next(iter(loops.values())).data
        textbook = _textbook(data, setting)
        works = {TEXTBOOK: textbook.epoch, **{name: loop.epoch for name, loop in loops.items()}}
        measured = in_turns(works, repeats)
        sizes = Sizes(len(data.train_labels), len(data.test_labels), data.shape, data.num_classes)
        operations = 6 * multiply_adds({"name": model}, sizes) * (2 if optimizer == "sam" else 1)
        for name, speeds in measured.items():
            spread = Spread.of(speeds)
            used = None if name == TEXTBOOK else spread.median * operations / rates[name.split(",")[0]]
            found.append(Speed(model, optimizer, name, spread, ratio(speeds, measured[TEXTBOOK]), used))
    return found


def _textbook(data: Dataset, setting: Setting) -> TextbookLoop:
    return TextbookLoop(
        data,
        setting.model,
        setting.optimizer,
        batch_size=setting.batch_size,
        device=setting.device,
        threads=setting.threads,
        workers=min(4, setting.threads),
    )


@dataclass(frozen=True)
class Overhead:
    """What an epoch costs beyond its bare steps, in percent, and evaluation beside it, in percent of training."""

    setting: Setting
    loop: Spread
    evaluation: Spread


def measure_overhead(setting: Setting, repeats: int, folder: Path) -> Overhead:
    """Epochs and as many bare steps take turns."""
    own = OwnLoop(setting, folder)
    evaluation: list[float] = []

    def epoch() -> float:
        seconds = own.seconds()
        evaluation.append(100 * seconds["evaluate"] / seconds["train"])
        return seconds["train"]

    measured = in_turns({"loop": epoch, "bare": own.bare_seconds}, repeats)
    added = [100 * (a / b - 1) for a, b in zip(measured["loop"], measured["bare"], strict=True)]
    return Overhead(setting, Spread.of(added), Spread.of(evaluation[1:]))


def measure_step_ratio(setting: Setting, repeats: int, folder: Path) -> Spread:
    """Seconds of a SAM step over those of an SGD step."""
    loops = {name: OwnLoop(replace(setting, optimizer=name), folder / name) for name in ("sgd", "sam")}
    measured = in_turns({name: loop.bare_seconds for name, loop in loops.items()}, repeats)
    return ratio(measured["sam"], measured["sgd"])


def product_rates(device: str, threads: int, size: int | None = None, repeats: int = 3) -> dict[str, float]:
    """Operations a second of a square matrix product of random numbers, by precision: the most a network could reach.

    ``size`` of the matrices: 2,048, on a GPU 8,192; ten products at a time there, so that waiting for it counts little.
    """
    import time

    torch.set_num_threads(threads)
    on_gpu = device.startswith("cuda")
    size = size or (8192 if on_gpu else 2048)
    products = 10 if on_gpu else 1
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.rand(size, size, device=device).to(dtype)
        best = float("inf")
        for _ in range(repeats + 1):
            start = time.perf_counter()
            for _ in range(products):
                product = a @ a
            float(product[0, 0])  # reading one entry waits for the device
            best = min(best, time.perf_counter() - start)
        rates[name] = 2 * size**3 * products / best
    return rates
