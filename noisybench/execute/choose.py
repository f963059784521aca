"""From settings to an executor, and what to say about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from noisybench.data import DataFolder
from noisybench.errors import InputError
from noisybench.execute.executor import Executor
from noisybench.execute.local import Local
from noisybench.execute.resources import choose_workers
from noisybench.execute.settings import LocalSettings, RaySettings, Settings, SlurmSettings
from noisybench.spec import RunSpec


@dataclass(frozen=True)
class Choice:
    """An executor; ``place``: where it trains, to follow "in"; ``note``: a line to print before it starts.

    ``stopping``: what to say when somebody asks to stop, None: the usual; ``farewell``: what becomes of runs when the
    command ends before they do; ``detached``: it ends once they are under way."""

    executor: Executor
    place: str
    note: str | None = None
    stopping: str | None = None
    farewell: Callable[[], str] | None = None
    detached: bool = False


def check_settings(settings: Settings, *, workers: str, dry_run: bool) -> None:
    """Everything about an executor that can be wrong before a suite is read: InputError, MissingExtra."""
    if isinstance(settings, SlurmSettings):
        from noisybench.execute.slurm.parameters import check_parameters, require_slurm

        check_parameters(settings)
        if workers == "0":
            raise InputError("--workers 0: a Slurm job trains in worker processes; use --workers 1 or more, or auto")
        if not dry_run:
            require_slurm()
    if isinstance(settings, RaySettings):
        from noisybench.execute.ray.needs import check_ray

        check_ray(settings, workers=workers)


def choose_executor(
    settings: Settings,
    runs: Sequence[RunSpec],
    folder: DataFolder,
    *,
    device: str,
    threads: int,
    workers: str,
    timeout: float | None,
) -> Choice:
    """The executor that the settings name. MissingExtra where its package is not installed."""
    if isinstance(settings, LocalSettings):
        crew = choose_workers(workers, runs, folder, device, threads)
        started = min(crew.count, max(1, len(runs)))
        place = "this process" if started == 0 else f"{started} worker{'s' if started > 1 else ''}"
        note = crew.limit and f"{crew.limit[0].upper()}{crew.limit[1:]}; --workers N overrides that."
        return Choice(Local(crew.count, timeout), place, note)
    if isinstance(settings, SlurmSettings):
        from noisybench.execute.slurm.executor import Slurm

        engine = Slurm(settings, workers, timeout)
        said = "Leaving: the jobs go on."
        return Choice(engine, "Slurm jobs", stopping=said, farewell=engine.farewell, detached=settings.detach)
    return _on_ray(settings, runs, device, threads, timeout)


def _on_ray(settings: RaySettings, runs: Sequence[RunSpec], device: str, threads: int, timeout: float | None) -> Choice:
    from noisybench.execute.ray.executor import Ray, connect
    from noisybench.execute.ray.needs import need

    resources = connect(settings.address) if runs else {}  # a settled study needs no cluster
    needs = need(settings, resources, device, threads)
    slots = needs.fits(resources)
    what = f"{needs.cpus:g} CPU" + (f" and {needs.gpus:g} GPU" if needs.gpus else "") + " each"
    place = f"a Ray cluster that takes {slots} at once ({what})"
    waits = f"No node of the cluster has room for a run ({what}) yet: the runs wait until one joins."
    return Choice(Ray(settings, needs, timeout, own=True), place, waits if runs and not slots else None)
