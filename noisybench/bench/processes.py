"""What is measured from outside: whole studies with several workers, peak memory, start-up, the report."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from noisybench.bench.ours import OwnLoop, Setting
from noisybench.bench.timing import Spread, in_turns
from noisybench.errors import InputError


@dataclass(frozen=True)
class Throughput:
    """Runs an hour of a study with so many workers of so many threads."""

    workers: int
    threads: int
    runs_per_hour: Spread


def measure_workers(setting: Setting, plans: list[tuple[int, int]], repeats: int, folder: Path) -> list[Throughput]:
    """Train the same study from nothing with each plan of (workers, threads), in turns; start-up counts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    path.write_text(setting.suite().replace("name: bench", "name: study"), encoding="utf-8")
    turn = 0

    def study(workers: int, threads: int) -> float:
        nonlocal turn
        turn += 1
        start = time.perf_counter()
        command(
            *("run", str(path), "--runs", str(folder / f"runs-{turn}")),
            *("--workers", str(workers), "--threads", str(threads), "--device", setting.device),
        )
        return 3600 * setting.seeds / (time.perf_counter() - start)

    works = {f"{w} {t}": (lambda w=w, t=t: study(w, t)) for w, t in plans}
    measured = in_turns(works, repeats)
    return [Throughput(w, t, Spread.of(measured[f"{w} {t}"])) for w, t in plans]


def command(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "noisybench", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise InputError(f"noisybench {arguments[0]} ended with code {done.returncode}: {''.join(last)}")


def peak_memory(setting: Setting, folder: Path) -> float:
    """Peak resident memory, in bytes, of a process that trains a few steps and evaluates the whole test set."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_few_steps, (replace(setting, epochs=1), folder))


def _few_steps(setting: Setting, folder: Path) -> float:
    own = OwnLoop(setting, folder)
    algorithm, task = own.run.algorithm, own.run.task
    loader = algorithm.loader(own.run.phases[0])
    algorithm.begin_epoch(0, loader)
    for number, batch in enumerate(task.batches(loader, 0)):
        algorithm.step(batch)
        if number == 4:
            break
    task.evaluate(algorithm.predict, own.run.test[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak * (1 if sys.platform == "darwin" else 1024))


def start_up(repeats: int) -> Spread:
    """Seconds of ``noisybench --help``."""

    def once() -> float:
        start = time.perf_counter()
        command("--help")
        return time.perf_counter() - start

    return Spread.of(in_turns({"help": once}, repeats)["help"])


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def driver_cost(setting: Setting, folder: Path, sizes: tuple[int, int] = (20, 100)) -> float:
    """Seconds of processor time that the process of ``noisybench run`` spends on one more run with a local worker:
    the slope between a small and a larger study of runs of one epoch."""
    from noisybench.execute.executor import Stop
    from noisybench.execute.local import Local
    from noisybench.execute.study import run_study, take_stock
    from noisybench.execute.work import Session
    from noisybench.suite import load_suite

    spent = []
    for runs in sizes:
        home = folder / str(runs)
        home.mkdir(parents=True)
        path = home / "cost.yaml"
        path.write_text(replace(setting, seeds=runs).suite(), encoding="utf-8")
        specs = list(load_suite(path).expand().runs)
        session = Session(home / "runs", home, None, setting.device)
        session.root.mkdir()
        standing = take_stock(session.store, specs, {})
        before = time.process_time()
        run_study(session, specs, standing, lambda event: None, Stop(), Local(1))
        spent.append(time.process_time() - before)
    return max(0.0, spent[1] - spent[0]) / (sizes[1] - sizes[0])
