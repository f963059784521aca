"""Speed changes no result: half precision, compilation, threads and workers move accuracy by less than seeds do.

The statement, fixed before anything was measured: with as many seeds on either side, the difference of the mean test
accuracies is below what two draws of that many seeds differ by in 99 of 100 cases when nothing is changed (Student's
t of the pooled spread over seeds). Both sides take the same seeds, so this is generous to chance and still finds a
training that is cut short. Workers change nothing at all: their records are equal. ``pytest -s`` prints the numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from small_runs import small_spec

from noisybench.execute.executor import Stop
from noisybench.execute.local import Local
from noisybench.execute.study import run_study, take_stock
from noisybench.execute.work import Session
from noisybench.train.numerics import why_not_compile

LEVEL = 0.99
SAM = {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}}
DIGITS = {
    "dataset.train_subset": 1000,
    "dataset.test_subset": 500,
    "model": {"name": "small_cnn", "width": 8},
    "training.epochs": 5,
    "training.batch_size": 50,
    "training.precision": "fp32",
    "training.diagnostics": "off",
}
CIFAR = {
    **DIGITS,
    "dataset": {
        "name": "npz",
        "path": "cifar10.npz",
        "as": "cifar10",
        "train_subset": 2000,
        "test_subset": 1000,
        "validation": 0.0,
        "subset_seed": 0,
    },
    "noise.rate": 0.2,
    "model": {"name": "small_cnn", "width": 16},
    "training.augment": [{"name": "crop"}, {"name": "flip"}],
}


def bound(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of means, of as many seeds each, that seeds alone explain at ``LEVEL``."""
    spread = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
    return float(stats.t.ppf((1 + LEVEL) / 2, 2 * len(a) - 2) * spread)


def agree(what: str, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the two means are within seed noise; prints them."""
    difference, allowed = float(b.mean() - a.mean()), bound(a, b)
    print(
        f"\n{what}: {a.mean():.2f} ± {a.std(ddof=1):.2f} and {b.mean():.2f} ± {b.std(ddof=1):.2f} "
        f"({len(a)} seeds each), difference {difference:+.2f}, allowed {allowed:.2f}"
    )
    return abs(difference) <= allowed


@dataclass
class Trained:
    """Runs that several tests look at, trained once."""

    place: Path
    data: Path
    base: dict[str, Any]
    seeds: int
    accuracies: dict[str, np.ndarray] = field(default_factory=dict)
    hashes: dict[str, list[str]] = field(default_factory=dict)

    def accuracy(self, name: str, workers: int = 0, threads: int = 1, seeds: int = 0, **changes: Any) -> np.ndarray:
        """Test accuracy in percent after the last epoch, seed by seed."""
        if name not in self.accuracies:
            paths = {path.replace("__", "."): value for path, value in changes.items()}
            runs = [small_spec({**self.base, **paths, "seed": seed}) for seed in range(seeds or self.seeds)]
            session = Session(self.place / name, self.data, None, threads=threads, keep_weights="no")
            standing = take_stock(session.store, runs, {})
            outcome = run_study(session, runs, standing, lambda event: None, Stop(), Local(workers))
            assert outcome.counts["finished"] == len(runs), outcome
            records = [session.store.read_record(spec.run_id) for spec in runs]
            compiled = changes.get("training__compile") == "on"
            assert all(record["provenance"]["compile"] is compiled for record in records)
            self.accuracies[name] = np.array([record["result"]["test_accuracy"]["last"] for record in records])
            self.hashes[name] = [record["result_sha256"] for record in records]
        return self.accuracies[name]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("digits")
    return Trained(place, place / "data", DIGITS, 8)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    data = Path(os.environ.get("NOISYBENCH_DATA", ""))
    if not (data / "cifar10.npz").is_file():
        pytest.skip("cifar10.npz is not in NOISYBENCH_DATA")
    return Trained(tmp_path_factory.mktemp("cifar"), data, CIFAR, 6)


@pytest.fixture
def _compiler() -> None:
    reason = why_not_compile({"optimizer": {}}, "cpu")
    if reason is not None:
        pytest.skip(reason)


def test_the_bound_by_hand() -> None:
    """Variances 1 and 1, three seeds: 4.604 (t table, 4 degrees, 99 %) times the root of 2/3."""
    assert bound(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])) == pytest.approx(
        4.604 * (2 / 3) ** 0.5, abs=1e-3
    )


def test_the_bound_finds_a_training_that_is_cut_short(digits: Trained) -> None:
    short = digits.accuracy("short", training__epochs=3)
    assert not agree("digits, 5 and 3 epochs", digits.accuracy("fp32"), short)


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("sam", marks=pytest.mark.slow)])
def test_half_precision_on_the_digits(digits: Trained, optimizer: str) -> None:
    changes = {"training__optimizer": SAM} if optimizer == "sam" else {}
    names = ["fp32", "bf16"] if optimizer == "sgd" else ["fp32-sam", "bf16-sam"]
    full = digits.accuracy(names[0], **changes)
    half = digits.accuracy(names[1], training__precision="bf16", **changes)
    assert digits.hashes[names[0]] != digits.hashes[names[1]], "they do compute differently"
    assert agree(f"digits, {optimizer}, fp32 and bf16", full, half)


@pytest.mark.slow
def test_threads_on_the_digits(digits: Trained) -> None:
    two = digits.accuracy("two-threads", threads=2)
    assert agree("digits, 1 and 2 threads", digits.accuracy("fp32"), two)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_workers_on_the_digits_give_the_same_records(digits: Trained, precision: str) -> None:
    digits.accuracy(precision, training__precision=precision)
    digits.accuracy(f"{precision}-workers", workers=2, training__precision=precision)
    assert digits.hashes[f"{precision}-workers"] == digits.hashes[precision]


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compilation_on_the_digits(digits: Trained, precision: str) -> None:
    eager = digits.accuracy(precision, training__precision=precision)
    compiled = digits.accuracy(f"{precision}-compiled", training__precision=precision, training__compile="on")
    assert agree(f"digits, {precision}, eager and compiled", eager, compiled)


@pytest.mark.data
def test_half_precision_and_workers_on_cifar10(cifar: Trained) -> None:
    full = cifar.accuracy("fp32", workers=2)
    half = cifar.accuracy("bf16", workers=2, training__precision="bf16")
    assert cifar.hashes["fp32"] != cifar.hashes["bf16"], "they do compute differently"
    assert agree("CIFAR-10 subset, fp32 and bf16", full, half)
    cifar.accuracy("fp32-here", seeds=2)
    assert cifar.hashes["fp32-here"] == cifar.hashes["fp32"][:2]


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
def test_compilation_on_cifar10(cifar: Trained) -> None:
    half = cifar.accuracy("bf16", workers=2, training__precision="bf16")
    compiled = cifar.accuracy("bf16-compiled", training__precision="bf16", training__compile="on")
    assert agree("CIFAR-10 subset, bf16, eager and compiled", half, compiled)
