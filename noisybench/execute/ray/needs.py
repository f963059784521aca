"""What a run needs of a cluster, and what must be there before one is asked. Imports neither ``ray`` nor torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from noisybench.errors import InputError, MissingExtra
from noisybench.execute.settings import RaySettings

GIB = 2**30
CLIENT = "ray://"


@dataclass(frozen=True)
class Need:
    """What Ray sets aside for one run; memory in bytes, 0: none."""

    cpus: float
    gpus: float
    memory: int

    def fits(self, resources: Mapping[str, float]) -> int:
        """How many runs so many resources take."""
        pairs = [(resources.get("CPU", 0.0), self.cpus), (resources.get("GPU", 0.0), self.gpus)]
        pairs.append((resources.get("memory", 0.0), float(self.memory)))
        return min((int(there / wanted + 1e-9) for there, wanted in pairs if wanted), default=0)


def need(settings: RaySettings, resources: Mapping[str, float], device: str, threads: int) -> Need:
    """From settings: by default the threads of a run, and a GPU where the device is cuda, or is left to the nodes of a
    cluster that has GPUs now."""
    gpus = settings.gpus_per_run
    if gpus is None:
        gpus = float(device.startswith("cuda") or (device == "auto" and resources.get("GPU", 0.0) > 0))
    return Need(settings.cpus_per_run or float(threads), gpus, int((settings.memory_per_run or 0.0) * GIB))


def check_ray(settings: RaySettings, *, workers: str) -> None:
    """What can be said before anything else: MissingExtra, and InputError for options of other executors."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra("ray", "ray", "--executor ray")
    if settings.address.startswith(CLIENT) and importlib.util.find_spec("grpc") is None:
        raise InputError(
            f"--address {settings.address}: needs Ray's client; install it with: pip install 'ray[client]'"
        )
    if workers != "auto":
        raise InputError(f"--workers {workers}: belongs to the local executor; on a cluster, --cpus-per-run decides")
    gpus = settings.gpus_per_run
    if gpus is not None and gpus > 1 and gpus != int(gpus):
        raise InputError(f"--gpus-per-run {gpus:g}: a part of a GPU, or whole ones")
