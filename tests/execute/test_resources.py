"""How many workers a machine takes."""

from __future__ import annotations

import os

import pytest
from small_runs import small_spec

from noisybench.execute.estimate import Sizes, work_of
from noisybench.execute.resources import (
    CONTEXT_BYTES,
    MOST_PER_GPU,
    PROCESS_BYTES,
    Machine,
    Workers,
    choose_workers,
    cores,
    data_bytes,
    free_memory,
    gpu_processes,
    processes_that_fit,
    run_bytes,
    this_machine,
)

GB = 2**30
CIFAR = Sizes(50_000, 10_000, (3, 32, 32), 10)


@pytest.fixture
def choose(folder):
    def choose(runs, device="cpu", threads=1, wanted="auto", changes=None, **machine):
        specs = [small_spec({"seed": seed, **(changes or {})}) for seed in range(runs)]
        return choose_workers(wanted, specs, folder, device, threads, Machine(**machine))

    return choose


def test_on_a_cpu_it_is_one_process_for_the_threads_of_a_run(choose):
    assert choose(100, cores=2, memory=64 * GB) == Workers(2)
    assert choose(100, cores=16, memory=64 * GB) == Workers(16)
    assert choose(100, cores=16, memory=64 * GB, threads=4) == Workers(4)
    assert choose(100, cores=16, memory=64 * GB, threads=5) == Workers(3)
    assert choose(100, cores=2, memory=64 * GB, threads=8) == Workers(1)


def test_never_more_than_there_are_runs(choose):
    assert choose(3, cores=16, memory=64 * GB) == Workers(3)
    assert choose(0, cores=16, memory=64 * GB) == Workers(1)


def test_memory_limits_it_and_says_so(choose):
    two = choose(100, cores=8, memory=round(2.9 * PROCESS_BYTES / 0.9))
    assert two == Workers(2, "memory allows 2 of 8 workers")
    assert choose(100, cores=8, memory=1).count == 1
    wide = {"model.width": 2_000_000}  # 3.6 GB of weights and their like, 4 GB in an evaluation, 0.4 GB of process
    assert choose(100, cores=8, memory=16 * GB).count == 8
    assert choose(100, cores=8, memory=32 * GB, changes=wide) == Workers(3, "memory allows 3 of 8 workers")


def test_a_number_is_taken_as_it_is(choose):
    assert choose(3, cores=2, memory=1, wanted="7") == Workers(7)
    assert choose(3, cores=2, memory=1, wanted="0") == Workers(0)


def test_several_processes_on_a_gpu_by_its_free_memory(choose):
    def on_gpu(gpu_memory, **other):
        return choose(
            **({"runs": 100, "cores": 16, "memory": 64 * GB} | other), device="cuda", gpu_memory=gpu_memory
        ).count

    assert on_gpu(80 * GB) == MOST_PER_GPU == 4
    assert on_gpu(2.9 * CONTEXT_BYTES) == 2
    assert on_gpu(0) == 1
    assert on_gpu(80 * GB, runs=3) == 3
    assert on_gpu(80 * GB, cores=2) == 2
    assert on_gpu(80 * GB, memory=round(2.9 * PROCESS_BYTES / 0.9)) == 2


def test_a_large_model_keeps_a_gpu_busy_alone():
    def step(model):
        return work_of(small_spec({"model": {"name": model}, "training.batch_size": 128}).data, CIFAR).step_operations

    # 6 x multiply-adds x batch: 0.05, 0.43 and 3.3 of the 1e12 operations that keep a GPU busy
    assert step("resnet32") == pytest.approx(6 * 69.1e6 * 128, rel=0.01)
    assert [gpu_processes(step(name)) for name in ("resnet32", "preact_resnet18", "resnet32_wide")] == [4, 2, 1]
    assert gpu_processes(0.0) == 4


def test_processes_that_fit():
    assert processes_that_fit(10 * GB, 3 * GB) == 3  # nine tenths: 9
    assert processes_that_fit(9.9 * GB, 3 * GB) == 2
    assert processes_that_fit(-1, 3 * GB) == 1


def test_what_a_run_needs_grows_with_batch_networks_and_weights():
    def need(**changes):
        spec = small_spec({"model": {"name": "small_cnn", "width": 32}} | changes)
        return run_bytes(work_of(spec.data, CIFAR), "cpu")

    base = need(**{"training.batch_size": 512})
    assert need(**{"training.batch_size": 1024}) > 1.8 * base
    assert need(**{"training.batch_size": 512, "method.algorithm": {"name": "coteaching"}}) > 1.9 * base
    assert need(**{"training.batch_size": 512, "model": {"name": "small_cnn", "width": 64}}) > 1.9 * base


def test_bytes_of_a_data_set():
    assert data_bytes(Sizes(45_000, 10_000, (3, 32, 32), 10, held_out=5_000)) == 60_000 * (3072 + 17)


def test_a_containers_quota_counts(tmp_path):
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(tmp_path) == here
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for text, expected in (("max 100000", here), ("100000 100000", 1), ("20000 100000", 1), ("99999999 100000", here)):
        (group / "cpu.max").write_text(text + "\n")
        assert cores(tmp_path) == expected


def test_a_containers_memory_counts(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:  8000000 kB\nMemAvailable:  4000000 kB\n")
    assert free_memory(tmp_path) == 4_096_000_000
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in (("max", "3000000000"), ("current", "2500000000"), ("stat", "anon 1\ninactive_file 1000\n")):
        (group / f"memory.{name}").write_text(text + "\n")
    assert free_memory(tmp_path) == 500_001_000
    (group / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) == 4_096_000_000
    assert free_memory(tmp_path / "nowhere") > 0


def test_this_machine_has_cores_and_memory():
    machine = this_machine("cpu")
    assert machine.cores >= 1
    assert machine.memory > 0
    assert machine.gpu_memory is None
