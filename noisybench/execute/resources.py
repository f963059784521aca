"""How many worker processes a machine takes: a fixed rule over its cores, its memory and what a run needs.

``--workers auto`` on a CPU: one process for every ``--threads`` cores (a run has one thread unless told otherwise:
two single-thread processes finish more runs than one with two threads, and results on a CPU depend on the threads of a
run), no more than fit into nine tenths of the free memory, no more than there are runs.

On a GPU: as many processes as fit into nine tenths of its free memory, at most MOST_PER_GPU, and no more than it takes
to keep it busy: BUSY_OPERATIONS in one training step of all processes together. Every process holds its own context
and its own copy of the data set there. The rule for GPUs, BUSY_OPERATIONS and what a run needs there are estimates
that have not been measured on a GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noisybench.data import DataFolder
from noisybench.execute.estimate import Sizes, Work, sizes_of, work_of
from noisybench.spec import RunSpec

SHARE_OF_MEMORY = 0.9
PROCESS_BYTES = 700 * 2**20
"""A worker that has imported everything (525 MB measured with torch 2.14, a part of it shared by all) and has the
scratch space and compiled kernels of its libraries."""
CONTEXT_BYTES = 600 * 2**20
"""What a process takes on a GPU before its first tensor: context, kernels, workspaces."""
MOST_PER_GPU = 4
BUSY_OPERATIONS = 1e12
"""Floating-point operations of a training step that keep a GPU busy by themselves."""
COPIES = 6
"""Tensors as large as the weights, for each network: weights, gradients, momentum, SAM's three (e, g, w)."""
EVALUATED = {"cpu": 250, "cuda": 2000}
"""Images evaluated at a time."""


@dataclass(frozen=True)
class Machine:
    """Cores this process may use, bytes of memory that are free, bytes that are free on the GPU (None: no GPU)."""

    cores: int
    memory: int
    gpu_memory: int | None = None


@dataclass(frozen=True)
class Workers:
    """How many processes, and what kept them below the number of cores, if it was memory."""

    count: int
    limit: str | None = None


def choose_workers(
    wanted: str, runs: Sequence[RunSpec], folder: DataFolder, device: str, threads: int, machine: Machine | None = None
) -> Workers:
    """The number that ``--workers`` says, or under ``auto`` the rule of this module. ``machine``: default this one."""
    if wanted != "auto":
        return Workers(int(wanted))
    if not runs:
        return Workers(1)
    machine = machine or this_machine(device)
    sizes = sizes_of(runs, folder)
    needs = {work_of(spec.data, size) for spec, size in zip(runs, sizes, strict=True)}
    on_gpu = device.startswith("cuda")
    largest = max(run_bytes(work, device) for work in needs)
    data = sum(data_bytes(size) for size in set(sizes))
    fitting = processes_that_fit(machine.memory - data, PROCESS_BYTES + (0 if on_gpu else largest))
    most = max(1, machine.cores // max(1, threads))
    if on_gpu and machine.gpu_memory is not None:
        most = min(most, gpu_processes(max(work.step_operations for work in needs)))
        resident = max(data_bytes(size) for size in sizes)
        fitting = min(fitting, processes_that_fit(machine.gpu_memory, CONTEXT_BYTES + resident + largest))
    count = max(1, min(most, fitting, len(runs)))
    short = fitting < min(most, len(runs))
    return Workers(count, f"memory allows {count} of {min(most, len(runs))} workers" if short else None)


def processes_that_fit(free: float, need: float) -> int:
    """Whole processes in nine tenths of the free bytes; a run is tried even where it seems not to fit: at least 1."""
    return max(1, int(SHARE_OF_MEMORY * free // need))


def gpu_processes(step_operations: float) -> int:
    """Processes whose steps of so many operations together keep a GPU busy, 1 to MOST_PER_GPU."""
    return max(1, min(MOST_PER_GPU, int(BUSY_OPERATIONS // max(step_operations, 1.0))))


def run_bytes(work: Work, device: str) -> int:
    """Bytes of a run beside the data set and the process: weights and their like, and the larger of what a training
    step keeps for its backward pass (every layer's output, and as much in gradients and activation functions) and an
    evaluation's. With PROCESS_BYTES between 3 % below and 11 % above the peak measured on a CPU with batches of
    128 images (small_cnn and resnet32 with SGD, resnet20 with SAM)."""
    training = 2.0 * work.batch_size * work.activations * work.views
    evaluating = 2.0 * EVALUATED["cuda" if device.startswith("cuda") else "cpu"] * work.largest_activation
    return int(4 * (COPIES * work.networks * work.parameters + max(work.networks * training, evaluating)))


def data_bytes(size: Sizes) -> int:
    """Bytes of the images and labels of a data set."""
    channels, height, width = size.shape
    return (size.held_out + size.train + size.test) * (channels * height * width + 17)


def this_machine(device: str) -> Machine:
    """What this process may use of the machine it runs on."""
    return Machine(cores(), free_memory(), _free_gpu_memory(device) if device.startswith("cuda") else None)


def cores(root: Path = Path("/")) -> int:
    """Cores this process may run on, no more than its container's quota of processor time, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, round(int(quota) / int(period)))
    return max(1, count)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes a new process could have: what the system calls available, no more than the container leaves."""
    free: int | None = None
    with contextlib.suppress(OSError, ValueError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    if free is None:  # no Linux: half of what is built in
        names = getattr(os, "sysconf_names", {})
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if "SC_PHYS_PAGES" in names else 4 * 2**30
    group = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError, ValueError):
        limit, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        free = min(free, limit - used + cached)
    return free


def _free_gpu_memory(device: str) -> int:
    import torch

    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free)
