"""``noisybench run``: plan, train what is not settled, report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from noisybench.cli.interrupt import stopping, terminable
from noisybench.cli.live import Progress, duration
from noisybench.errors import InputError, StoreError
from noisybench.spec import RunSpec, at

console = Console(soft_wrap=True, highlight=False)


@terminable()
def run_suite(
    source: str,
    runs_dir: Path,
    *,
    name: str | None,
    sets: Sequence[str],
    only: Sequence[str],
    dry_run: bool,
    smoke: bool,
    workers: str,
    threads: int,
    device: str,
    data_dir: Path | None,
    plugins: Sequence[Path],
    retry_failed: bool,
    replace_stale: bool,
    keep_weights: str,
    timeout: str | None = None,
    fail_fast: bool = False,
    executor: str | None = None,
    executor_config: Path | None = None,
    executor_options: Mapping[str, Mapping[str, Any]] | None = None,
) -> int:
    """Returns the exit code (design 4.10)."""
    from noisybench import registry
    from noisybench.data import DataFolder, default_data_dir, is_available
    from noisybench.execute.choose import check_settings, choose_executor
    from noisybench.execute.executor import Stop
    from noisybench.execute.obstacles import missing_data
    from noisybench.execute.resources import choose_workers
    from noisybench.execute.settings import read_settings
    from noisybench.execute.study import fingerprints, open_set_prints, run_study, take_stock
    from noisybench.execute.work import Session
    from noisybench.store import Store
    from noisybench.suite import build_plan, check_plan, doubts, load_suite, run_names, select, smoke_suite
    from noisybench.train.numerics import choose_device

    limit = _check_options(workers, keep_weights, timeout)
    engine, settings = read_settings(executor, executor_config, executor_options or {})
    check_settings(settings, workers=workers, dry_run=dry_run)
    hashes = tuple(registry.load_plugin(plugin) for plugin in plugins)
    suite = load_suite(source, sets=sets, name=name)
    folder = DataFolder(data_dir or default_data_dir(), suite.directory)
    if smoke:
        suite = smoke_suite(suite, available=lambda block: is_available(block, folder))
    expansion = suite.expand()
    chosen = select(expansion, only)
    runs = [spec for spec in expansion.runs if spec.run_id in chosen]
    if engine == "local":  # elsewhere, "auto" is what the place of a run has
        device = choose_device(device)
    store = Store(runs_dir / suite.name)
    plan = build_plan(expansion, _again(source, sets, plugins, name))
    check_plan(store.sound_plan(change=False)[0], plan)  # before anything is downloaded
    if engine != "ray":  # a cluster may have what this machine lacks
        _refuse_missing_packages(expansion, runs, store, retry_failed)
    for lacking in missing_data(runs, folder):
        raise lacking
    for doubt in doubts(runs):
        console.print(f"Note: {doubt}", markup=False)
    if dry_run:
        standing = take_stock(store, runs, {}, retry_failed=retry_failed, change=False)
        hands = None
        if engine == "local":
            wanted = choose_workers(workers, standing.todo, folder, device, threads).count
            hands = min(wanted, len(standing.todo))
        _print_dry_run(expansion, runs, standing, store, folder, device, hands)
        return 0
    if smoke and plan["synthetic"]:
        console.print("The data set is not here: this smoke run uses synthetic images of the same shape.")
    prints = fingerprints(runs, folder) | open_set_prints(store, runs, folder)
    store = Store.open(store.root)
    with store.plan_lock():
        stored, problem = store.sound_plan(change=True)
        merged = check_plan(stored, plan)
        again = {"retry_failed": retry_failed, "replace_stale": replace_stale}
        standing = take_stock(store, runs, prints, **again, folder=folder)
        store.write_plan(merged)
    for text in [problem, *standing.notes] if problem else standing.notes:
        console.print(text, markup=False)
    if store.leases:
        console.print("This file system's locks do not work: runs are shared by leases that are renewed instead.")
    chosen_executor = choose_executor(
        settings, standing.todo, folder, device=device, threads=threads, workers=workers, timeout=limit
    )
    session = Session(
        store.root.resolve(),
        folder.path.resolve(),
        suite.directory,
        device,
        threads,
        tuple(str(plugin.resolve()) for plugin in plugins),
        keep_weights,
        min(spec.seed for spec in expansion.runs),
        store.leases,
        plugin_hashes=hashes,
    )
    _announce(suite.name, len(runs), standing, chosen_executor.place, device)
    if chosen_executor.note:
        console.print(chosen_executor.note, markup=False)
    progress = Progress(len(runs), len(standing.settled), run_names(expansion.cells), console)
    stop = Stop()
    with stopping(stop, chosen_executor.stopping), progress:
        outcome = run_study(session, runs, standing, progress, stop, chosen_executor.executor, fail_fast=fail_fast)
    if outcome.broken is not None:
        if chosen_executor.farewell:
            console.print(f"{chosen_executor.farewell()}.", markup=False)
        raise StoreError(f"{outcome.broken}; put that right and run the same command again: what is done stays done")
    if chosen_executor.farewell and outcome.unfinished:
        console.print(f"{chosen_executor.farewell()}; where they stand: noisybench status {store.root}", markup=False)
    if chosen_executor.detached and not outcome.interrupted:
        return outcome.exit_code
    if outcome.interrupted:
        console.print(f"Interrupted. Go on with the same command; {_count(outcome.counts)}.")
        return outcome.exit_code
    if fail_fast and outcome.unfinished:
        console.print(f"Stopped at a failure (--fail-fast). Go on with the same command; {_count(outcome.counts)}.")
    elif standing.todo:
        console.print(f"Trained {len(standing.todo)} runs in {duration(progress.elapsed)}: {_count(outcome.counts)}.")
    for line in failure_lines(outcome.failures, progress.names, store):
        console.print(line, markup=False)
    _print_report(store.root, only)
    return outcome.exit_code


def _refuse_missing_packages(expansion: Any, runs: Sequence[RunSpec], store: Any, retry_failed: bool) -> None:
    """InputError where a run to do needs a package that is not here; what is settled needs none."""
    from noisybench.execute.obstacles import missing_packages, without_package
    from noisybench.execute.study import take_stock

    lacking = {spec.run_id for spec in without_package(runs)}
    if not lacking:
        return
    todo = take_stock(store, runs, {}, retry_failed=retry_failed, change=False).todo
    for error in missing_packages([spec for spec in todo if spec.run_id in lacking], expansion.cells):
        raise InputError(f"{error}, or leave these runs out with --only")


def _print_report(root: Path, only: Sequence[str]) -> None:
    """Write the report of the whole study and print it, or with ``only`` the part of it that was asked for."""
    from noisybench.cli.report import Options, print_report

    if not only:
        print_report([root])
        return
    whole = Options().report([root])
    part = Options(only=only, baseline=_baseline_within(whole, only)).report([root])
    print_report([root], made=whole, shown=part)
    more = whole.study.counts["planned"] - part.study.counts["planned"]
    if more:
        are = "run is" if more == 1 else "runs are"
        console.print(f"{more} more {are} planned; noisybench report {root} shows all.", markup=False)


def _baseline_within(whole: Any, only: Sequence[str]) -> str | None:
    """The first method of the selected part where the suite's baseline is none of them; None: what the suite says."""
    from noisybench.report.grid import make_grids
    from noisybench.report.merge import narrow

    if whole.baseline is None:
        return None
    rows = [row for grid in make_grids(narrow(whole.study, only), whole.rule) for row in grid.rows]
    return None if whole.baseline in rows else rows[0]


def _again(source: str, sets: Sequence[str], plugins: Sequence[Path], name: str | None) -> list[str]:
    """The arguments that decide what is planned, as they were given."""
    options = [("--set", text) for text in sets] + [("--plugin", str(plugin)) for plugin in plugins]
    options += [("--name", name)] if name is not None else []
    return [source, *(part for option in options for part in option)]


def _check_options(workers: str, keep_weights: str, timeout: str | None) -> float | None:
    """Seconds of ``--timeout``, or None."""
    if workers != "auto" and not (workers.isdigit() and int(workers) <= 1024):
        raise InputError(f"--workers {workers}: must be auto or a number from 0 to 1024")
    if keep_weights not in ("auto", "all", "no"):
        raise InputError(f"--keep-weights {keep_weights}: must be auto, all or no")
    if timeout is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", timeout.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds <= 1e8:
        raise InputError(f"--timeout {timeout}: must be a duration such as 90s, 30m or 2h")
    if workers == "0":
        raise InputError("--timeout: only a worker process can be ended; use --workers 1 or more")
    return seconds


def _announce(name: str, total: int, standing: Any, place: str, device: str) -> None:
    settled = f", {len(standing.settled)} already settled" if standing.settled else ""
    failed = sum(record["result"]["status"] == "failed" for record in standing.settled.values())
    settled += f" ({failed} of them failed; --retry-failed trains them again)" if failed else ""
    text = f"{name}: {total} runs{settled}"
    if standing.todo:
        on = "" if device == "auto" else f" on {device}"  # elsewhere, each place decides
        text += f"; training {len(standing.todo)}{on} in {place}"
    console.print(text + ".")


def failure_lines(failures: Mapping[str, str], names: Mapping[str, str], store: Any) -> list[str]:
    """One line a reason: how many runs, the first of them, and where its traceback is."""
    by_reason: dict[str, list[str]] = {}
    for run_id, reason in failures.items():
        key = "its teacher did not finish" if reason.startswith("its teacher") else reason
        by_reason.setdefault(key, []).append(run_id)
    lines = []
    for reason, runs in by_reason.items():
        first, path = names.get(runs[0], runs[0]), store.folder(runs[0]) / "record.json"
        what = first if len(runs) == 1 else f"{len(runs)} runs, the first {first}"
        lines.append(f"  {reason}: {what}" + (f" (traceback in {path})" if path.exists() else ""))
    return lines


def _count(counts: Any) -> str:
    again = {"failed": " (--retry-failed trains them again)"}
    parts = [f"{n} {name}{again.get(name, '')}" for name, n in counts.items() if n or name == "finished"]
    return ", ".join(parts)


def _print_dry_run(
    expansion: Any, runs: Sequence[RunSpec], standing: Any, store: Any, folder: Any, device: str, hands: int | None
) -> None:
    """``hands``: worker processes that ``run`` would start here (0: none but this one); None: it runs elsewhere."""
    from noisybench.data import is_available
    from noisybench.execute.estimate import disk_bytes, hours
    from noisybench.suite import run_names

    names = run_names(expansion.cells)
    for spec in runs:
        record = standing.settled.get(spec.run_id)
        state = record["result"]["status"] if record else "blocked" if spec.run_id in standing.blocked else "to do"
        after = f"  (after {names.get(spec.teacher, spec.teacher)})" if spec.teacher else ""
        console.print(
            f"{state:9} {names[spec.run_id]}{after}  [{at(spec.data, 'training.epochs')} epochs]", markup=False
        )
    console.print(f"{len(runs)} runs, {len(standing.settled)} settled, {len(standing.todo)} to do.")
    if standing.todo:
        absent = {
            spec.data["dataset"]["name"] for spec in standing.todo if not is_available(spec.data["dataset"], folder)
        }
        for name in sorted(absent):
            console.print(
                f"The data of '{name}' is not here yet; 'run' looks for it (or downloads it) first.", markup=False
            )
        where = "" if hands is None else f" on {device} in {_place(hands)}"
        console.print(
            f"'run' would train {len(standing.todo)}{where}, into {store.root}; first: "
            f"{names[_first(standing, folder, hands).run_id]}.",
            markup=False,
        )
        time, basis = hours(standing.todo, folder, store, device)
        shared = 1 if device.startswith("cuda") else hands or 1  # workers share a GPU
        crew = f"with {_place(hands)}" if hands else "one run after another"
        crew += " that share the GPU" if hands and hands > shared else ""
        doubt = "; it may be a third of that or three times as much" if "guess" in basis else ""
        disk = disk_bytes(standing.todo, folder) / 1e6
        size = f"{disk:,.0f} MB" if disk < 1000 else f"{disk / 1000:,.0f} GB"
        console.print(f"Disk: about {size}. Time: about {roughly(time / shared)} {crew} ({basis}{doubt}).")
    console.print("Nothing was trained or written.")


def _first(standing: Any, folder: Any, hands: int | None) -> RunSpec:
    """The run that ``run`` begins with."""
    from noisybench.execute.plan import in_order
    from noisybench.execute.queue import Queue

    queue = Queue(in_order(standing.todo, folder, 2 if hands is None else hands), standing.finished)
    return queue.next() or standing.todo[0]  # teachers in other hands: all wait


def _place(hands: int) -> str:
    return "this process" if hands == 0 else f"{hands} worker{'s' if hands > 1 else ''}"


def roughly(hours: float) -> str:
    """``20 minutes``, ``3 hours``, ``2 days``: one digit, an estimate is not known more closely."""
    count, unit = 60 * hours, "minute"
    if count >= 55:
        longer = ((hours, "hour", 40), (hours / 24, "day", 700), (hours / 24 / 365, "year", math.inf))
        count, unit = next((count, unit) for count, unit, most in longer if count < most)
    count = max(1.0, count)
    number = round(count, -int(math.log10(count)))
    return f"{number:,.0f} {unit}{'s' if number != 1 else ''}"
