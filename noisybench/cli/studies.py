"""The commands that train and look after studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noisybench.cli.options import DataDir, Plugins, Sets


def register(app: typer.Typer) -> None:
    """Add these commands to the program's."""
    app.command()(run)
    app.command()(merge)
    app.command()(status)


def run(
    suite: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a shipped suite (see: noisybench list suites).")
    ],
    runs: Annotated[Path, typer.Option("--runs", help="Folder for results.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Store under this suite name instead.")] = None,
    sets: Sets = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KEY=A|B", help="Train these runs only; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; write nothing.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Shrink to a tiny subset and 3 epochs, to see that it works.")
    ] = False,
    workers: Annotated[str, typer.Option(help="Processes; 0 trains in this one; auto: by cores and memory.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads a run may use.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: DataDir = None,
    plugin: Plugins = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train failed runs again.")] = False,
    replace_stale: Annotated[
        bool, typer.Option("--replace-stale", help="Set aside results made from other data of the same name.")
    ] = False,
    keep_weights: Annotated[str, typer.Option(help="auto (below 16 MB, and of the first seed), all or no.")] = "auto",
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End a run that takes longer (90s, 30m, 2h) as failed."),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")] = False,
    executor: Annotated[
        str | None, typer.Option(help="local (worker processes), ray or slurm. Default: local, or what the file says.")
    ] = None,
    executor_config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Settings of executors; options here go before them.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="ray: the cluster. auto finds a running one, local starts one here.")
    ] = None,
    gpus_per_run: Annotated[
        float | None, typer.Option(help="ray: GPUs of a run, e.g. 0.25. Default: 1 on cuda, else 0.")
    ] = None,
    cpus_per_run: Annotated[float | None, typer.Option(help="ray: CPUs of a run. Default: --threads.")] = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="ray, without shared storage: time between two checkpoints sent here."),
    ] = None,
    slurm: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE,...", help="slurm: parameters of sbatch, e.g. partition=gpu,time=4:00:00."),
    ] = None,
    runs_per_job: Annotated[int | None, typer.Option(help="slurm: runs that share a job.")] = None,
    detach: Annotated[
        bool | None, typer.Option("--detach", help="slurm: submit and return; see: noisybench status.")
    ] = None,
) -> None:
    """Train what a suite describes and is not settled yet, then print its report."""
    from noisybench.cli.run import run_suite
    from noisybench.execute.settings import parse_parameters

    raise typer.Exit(
        run_suite(
            suite,
            runs,
            name=name,
            sets=sets or [],
            only=only or [],
            dry_run=dry_run,
            smoke=smoke,
            workers=workers,
            threads=threads,
            device=device,
            data_dir=data_dir,
            plugins=plugin or [],
            retry_failed=retry_failed,
            replace_stale=replace_stale,
            keep_weights=keep_weights,
            timeout=timeout,
            fail_fast=fail_fast,
            executor=executor,
            executor_config=executor_config,
            executor_options={
                "ray": {
                    "address": address,
                    "gpus_per_run": gpus_per_run,
                    "cpus_per_run": cpus_per_run,
                    "checkpoint_every": checkpoint_every,
                },
                "slurm": {"parameters": parse_parameters(slurm), "runs_per_job": runs_per_job, "detach": detach},
            },
        )
    )


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Folders of one suite, e.g. cluster/my-study laptop/my-study."),
    ],
    into: Annotated[Path, typer.Option("--into", metavar="RUNS", help="The folder to fill; it may be there already.")],
    keep_first: Annotated[
        bool, typer.Option("--keep-first", help="Where a run ended differently, take the folder named first.")
    ] = False,
) -> None:
    """Make one results folder of several of the same suite: identical runs once, conflicts named."""
    from noisybench.execute.join import join

    done = join(sources, into, keep_first=keep_first)
    for note in done.notes:
        typer.echo(note)
    for run_id, places in done.conflicts.items():
        typer.echo(f"{run_id}: ended differently in {' and '.join(places)}; that of {places[0]} was taken")
    parts = [f"{done.copied} runs copied"]
    parts += [f"{done.unfinished} of them unfinished"] if done.unfinished else []
    parts += [f"{done.same} were in several folders, the same"] if done.same else []
    typer.echo(f"{into}: {', '.join(parts)}.")


def status(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", help="Folders of suites, e.g. runs/quickstart, or of all: runs.")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until everything is done.")] = False,
    every: Annotated[float, typer.Option(min=0.05, metavar="SECONDS", help="How often --watch looks.")] = 5.0,
) -> None:
    """Say where studies stand: what is done, running (where, which epoch), waiting or failed, and how long it takes.

    Exit code 1 where runs failed, are blocked or have damaged records; else 0, complete or not."""
    from noisybench.cli.status import print_status

    raise typer.Exit(print_status(runs, every=every if watch else None))
