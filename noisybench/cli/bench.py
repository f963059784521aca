"""``noisybench bench``: measure speed on this machine, print tables, and write what was measured as JSON."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from tabulate import tabulate

from noisybench import __version__
from noisybench.errors import InputError
from noisybench.registry import did_you_mean
from noisybench.store import write_atomic

console = Console(soft_wrap=True, highlight=False, markup=False)


@dataclass
class Bench:
    """What the parts share: options, a folder that goes afterwards, and what was found so far."""

    models: Sequence[str]
    optimizers: Sequence[str]
    device: str
    threads: int
    repeats: int
    images: int
    labels: int
    records: int
    folder: Path
    times: Path | None = None
    cost: float | None = None
    found: dict[str, Any] = field(default_factory=dict)

    def table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table under a line that says what it shows."""
        console.print(f"\n{title}")
        align = ("left", *["right"] * (len(heads) - 1))
        console.print(tabulate(rows, headers=heads, colalign=align, disable_numparse=True))


def run_bench(
    parts: Sequence[str],
    *,
    models: Sequence[str],
    optimizers: Sequence[str],
    device: str,
    threads: int | None,
    repeats: int,
    images: int,
    labels: int,
    records: int,
    out: Path | None,
    times: Path | None = None,
    cost: float | None = None,
) -> None:
    """Measure the parts named (all by default), one after another; ``out`` gets everything as JSON."""
    for part in parts:
        if part not in PARTS:
            raise InputError(f"bench {part}: no such part{did_you_mean(part, PARTS)}; there are: {', '.join(PARTS)}")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--json {out}: no folder {out.parent}")
    if "scaling" in parts and times is None:
        raise InputError("bench scaling: give --times RUNS, a results folder whose runs' measured seconds are taken")
    from noisybench.bench.processes import cores
    from noisybench.registry import get
    from noisybench.train.numerics import choose_device

    for model in models:
        get("model", model)
    for optimizer in optimizers:
        if optimizer not in ("sgd", "sam"):
            raise InputError(f"--optimizer {optimizer}: sgd or sam")
    with tempfile.TemporaryDirectory(prefix="noisybench-bench-") as folder:
        bench = Bench(
            models,
            optimizers,
            choose_device(device),
            threads or cores(),
            repeats,
            images,
            labels,
            records,
            Path(folder),
            times,
            cost,
        )
        bench.found["machine"] = describe_machine(bench)
        for part in parts or [part for part in PARTS if part != "scaling" or times is not None]:
            PARTS[part](bench)
    console.print(
        "\nMedian of the turns, in brackets the lowest and the highest. Alternatives take turns, and ratios are"
    )
    console.print("formed within a turn, so that what else the machine does spoils them less.")
    if out is not None:
        write_atomic(out, (json.dumps(bench.found, indent=1) + "\n").encode())
        console.print(f"\nWritten: {out}")


def describe_machine(bench: Bench) -> dict[str, Any]:
    """Device, processor, threads and versions; printed and stored."""
    import torch

    from noisybench.train.numerics import bf16_is_fast, device_name

    device = torch.device(bench.device)
    machine = {
        "device": bench.device,
        "name": device_name(bench.device),
        "threads": bench.threads,
        "fast_bf16": bf16_is_fast(device),
        "versions": {"noisybench": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    console.print(
        f"noisybench {__version__}, torch {torch.__version__}, {machine['name']}, {bench.threads} threads"
        + ("" if machine["fast_bf16"] else "; no fast bf16 here")
    )
    return machine


def training(bench: Bench) -> None:
    """noisybench's loop beside the textbook's."""
    from noisybench.bench.training import measure_training, product_rates

    rates = product_rates(bench.device, bench.threads)
    settings = [(model, optimizer) for model in bench.models for optimizer in bench.optimizers]
    ways = [("fp32", "off", True), ("bf16", "off", True)]
    ways.append(("bf16", "off", False) if bench.device.startswith("cuda") else ("bf16", "on", True))
    speeds = measure_training(settings, ways, base_setting(bench), bench.repeats, bench.folder / "training", rates)
    bench.found["training"] = {"matrix_product_rate": rates, "speeds": [asdict(speed) for speed in speeds]}
    bench.table(
        f"Training, images/s, batch 128, {bench.threads} threads, {bench.images:,} images of 3x32x32 a turn. "
        "Use: share of the rate of a matrix product.",
        ["network", "optimiser", "loop", "images/s", "times the textbook's", "use"],
        [
            [
                s.model,
                s.optimizer,
                s.way,
                s.images_per_second.text(0),
                s.ratio.text(),
                "" if s.utilisation is None else f"{s.utilisation:.0%}",
            ]
            for s in speeds
        ],
    )
    console.print(
        "textbook: torchvision transforms on PIL images in DataLoader workers, float32, loss.item() every step "
        "(noisybench/bench/textbook.py)."
    )


def overhead(bench: Bench) -> None:
    """What the loop adds to the bare step, and SAM's step to SGD's."""
    from noisybench.bench.training import measure_overhead, measure_step_ratio

    rows, found = [], []
    for model in bench.models:
        for optimizer in bench.optimizers:
            setting = base_setting(bench, model=model, optimizer=optimizer)
            cost = measure_overhead(setting, bench.repeats, bench.folder / f"overhead-{model}-{optimizer}")
            rows.append([model, optimizer, cost.loop.text(1), cost.evaluation.text(1)])
            found.append({"model": model, "optimizer": optimizer, **asdict(cost)})
    bench.table(
        "What an epoch adds to as many bare steps (forward, backward, optimiser on one batch that lies ready), %",
        ["network", "optimiser", "loop", "evaluation of 500 test images"],
        rows,
    )
    bench.found["overhead"] = found
    steps = {
        model: measure_step_ratio(base_setting(bench, model=model), bench.repeats, bench.folder / f"step-{model}")
        for model in bench.models
    }
    bench.found["sam_step"] = {model: asdict(spread) for model, spread in steps.items()}
    bench.table("A SAM step in SGD steps", ["network", "SAM / SGD"], [[m, s.text()] for m, s in steps.items()])


def workers(bench: Bench) -> None:
    """Whole studies with one worker of all threads and with one worker a thread."""
    from noisybench.bench.processes import measure_workers

    if bench.device.startswith("cuda"):  # several processes on one GPU
        plans = [(w, 1) for w in _halvings(min(4, bench.threads))]
        setting = base_setting(bench, model=bench.models[0], epochs=20, seeds=8, threads=1)
    else:
        plans = [(w, max(1, bench.threads // w)) for w in _halvings(bench.threads)]
        setting = base_setting(bench, model="resnet20", epochs=3, seeds=max(4, bench.threads), train=1280, threads=1)
    found = measure_workers(setting, plans, max(1, bench.repeats // 2), bench.folder / "workers")
    bench.found["workers"] = [asdict(t) for t in found]
    first = found[0].runs_per_hour.median
    bench.table(
        f"A study of {setting.seeds} runs ({setting.model}, {setting.train:,} images, {setting.epochs} epochs) from "
        "nothing",
        ["workers x threads", "runs an hour", "times the first"],
        [
            [f"{t.workers} x {t.threads}", t.runs_per_hour.text(0), f"{t.runs_per_hour.median / first:.2f}"]
            for t in found
        ],
    )


def memory(bench: Bench) -> None:
    """Peak memory on data of CIFAR-10's size."""
    from noisybench.bench.processes import peak_memory

    rows = []
    bench.found["memory"] = {}
    for model in bench.models:
        setting = base_setting(bench, model=model, train=50_000, test=10_000)
        peak = peak_memory(setting, bench.folder / f"memory-{model}")
        bench.found["memory"][model] = peak
        rows.append([model, f"{peak / 1e9:.2f}"])
    bench.table("Peak memory of a run on 50,000 + 10,000 images of 3x32x32, GB", ["network", "GB"], rows)


def startup(bench: Bench) -> None:
    """How long the command line takes to say anything."""
    from noisybench.bench.processes import start_up

    spread = start_up(bench.repeats)
    bench.found["startup"] = asdict(spread)
    bench.table("Start-up", ["command", "seconds"], [["noisybench --help", spread.text()]])


def report(bench: Bench) -> None:
    """The report over many records, and over half as many."""
    from noisybench.bench.many_records import measure_report

    rows = []
    bench.found["report"] = {}
    for records in (bench.records // 2, bench.records):
        seconds = measure_report(records, bench.folder / "report")
        bench.found["report"][str(records)] = seconds
        rows.append([f"{records:,}", f"{seconds:.1f}"])
    bench.table("Report, start-up included", ["records", "seconds"], rows)


def noise(bench: Bench) -> None:
    """Label noise against a loop over samples."""
    from noisybench.bench.noise import CLASSES, LOOP, RATE, measure_noise

    size, loop_size = bench.labels, min(bench.labels, LOOP)
    timings = measure_noise(size, bench.repeats, loop_size)
    bench.found["noise"] = [asdict(timing) for timing in timings]
    bench.table(
        f"{size:,} labels of {CLASSES} classes, rate {RATE:g}, one thread, best of {bench.repeats}",
        ["noise", "seconds", "labels/s", "loop, seconds", "times faster"],
        [
            [t.name, f"{t.seconds:.3f}", f"{t.size / t.seconds:,.0f}", f"{t.loop_seconds:.1f}", f"{t.ratio:,.0f}"]
            for t in timings
        ],
    )
    extrapolated = f", extrapolated from {loop_size:,} labels" if loop_size < size else ""
    console.print(
        f"loop: one RandomState.multinomial draw a sample from the row of its class, as in the code of Co-teaching and "
        f"its successors{extrapolated}."
    )


def scaling(bench: Bench) -> None:
    """A large study over ever more workers, by simulation with measured times and a measured cost of a run."""
    from noisybench.bench.processes import driver_cost
    from noisybench.bench.scaling import measured_seconds, simulate, study_of

    assert bench.times is not None
    times = measured_seconds(bench.times)
    cost = bench.cost
    if cost is None:
        cost = driver_cost(base_setting(bench, model="mlp", epochs=1, train=128), bench.folder / "cost")
    runs, seconds = study_of(times, 10_000)
    scaled = [simulate(runs, seconds, workers, cost, start=WORKER_START) for workers in WORKERS]
    bench.found["scaling"] = {"cost": cost, "runs": len(runs), "scaled": [asdict(item) for item in scaled]}
    bench.table(
        f"{len(runs):,} runs of {min(times):.0f} to {max(times):.0f} s (mean {sum(times) / len(times):.0f}), a tenth "
        f"of them students; driver: {1000 * cost:.1f} ms a run; a worker is ready after {WORKER_START:.0f} s",
        ["workers", "hours", "efficiency", "driver busy", "limit"],
        [
            [f"{s.workers}", f"{s.seconds / 3600:.2f}", f"{s.efficiency:.1%}", f"{s.driver:.1%}", s.limit]
            for s in scaled
        ],
    )


WORKERS = (1, 8, 64, 512, 4096)
WORKER_START = 10.0
"""Seconds until a worker has imported everything, on a busy machine."""

PARTS: dict[str, Callable[[Bench], None]] = {
    "training": training,
    "overhead": overhead,
    "workers": workers,
    "memory": memory,
    "startup": startup,
    "report": report,
    "noise": noise,
    "scaling": scaling,
}


def base_setting(bench: Bench, **changes: Any) -> Any:
    """A training setting on this bench's device and threads."""
    from noisybench.bench.ours import Setting

    options: dict[str, Any] = {"train": bench.images, "device": bench.device, "threads": bench.threads}
    return Setting(**(options | changes))


def _halvings(threads: int) -> list[int]:
    """1, 2, 4, ... workers up to one a thread."""
    counts = [1]
    while counts[-1] * 2 <= threads:
        counts.append(counts[-1] * 2)
    return counts
