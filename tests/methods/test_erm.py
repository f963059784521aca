"""The default algorithm with every optimiser: counting, micro-batches, schedules, resuming."""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import small_spec

from noisybench import registry
from noisybench.methods.descent import micro_batches
from noisybench.train.trainer import Interrupted, train

WRAPPERS = [c.name for c in registry.components("optimizer") if c.traits.get("wraps")]
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}
IMAGES = 300  # of a small run; three epochs of five steps


def spec_of(name: str, **params):
    return small_spec({"training.optimizer": {"name": name, "base": SGD, **params}})


def stopped_after(spec, store, folder, epochs):
    seen = []
    with pytest.raises(Interrupted):
        train(
            spec,
            store,
            folder,
            observe=lambda event: seen.append(event["type"]),
            stop_after=lambda: math.inf if seen.count("epoch") >= epochs else None,
        )


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_resumes_bit_for_bit_and_counts_its_gradients(name, tmp_path, store, folder):
    params = {"looksam": {"k": 3}, "sam": {"every": 2, "rho_schedule": "cosine"}}.get(name, {})
    spec = spec_of(name, **params)
    whole = train(spec, store, folder)
    other = type(store)(tmp_path / "stopped")
    stopped_after(spec, other, folder, 1)
    resumed = train(spec, other, folder)
    assert resumed["provenance"]["resumes"] == 1
    assert resumed["result"] == whole["result"]
    if name == "esam":  # 1 + gamma, of batches of 64 and 44 exactly
        assert whole["result"]["gradient_evaluations"] == 3 * (IMAGES + IMAGES // 2)
    elif name == "looksam":  # steps 0, 3, 6, 9, 12 of 15; steps 4, 9 and 14 are the short ones
        assert whole["result"]["gradient_evaluations"] == 3 * IMAGES + 4 * 64 + 44
    elif name == "sam":  # steps 0, 2, ..., 14
        assert whole["result"]["gradient_evaluations"] == 3 * IMAGES + 6 * 64 + 2 * 44
    else:
        assert whole["result"]["gradient_evaluations"] == 3 * IMAGES * (1 if name == "msam" else 2)


@pytest.mark.parametrize("mixup", [None, {"alpha": 1.0}])
def test_micro_batches_as_large_as_the_batch_change_nothing(mixup, store, folder):
    plain = {"training.optimizer": {"name": "sam", "rho": 0.1, "base": SGD}, "method.mixup": mixup}
    split = {"training.optimizer": {"name": "sam", "rho": 0.1, "m": 64, "base": SGD}, "method.mixup": mixup}
    one, two = (train(small_spec(changes), store, folder)["result"] for changes in (plain, split))
    assert one["test_accuracy"] == two["test_accuracy"]
    assert one["curves_sha256"] == two["curves_sha256"]


@pytest.mark.parametrize("mixup", [None, {"alpha": 1.0}])
def test_micro_batches_at_rho_zero_only_accumulate(mixup, store, folder):
    plain = {"training.optimizer": SGD, "method.mixup": mixup}
    split = {"training.optimizer": {"name": "sam", "rho": 0.0, "m": 10, "base": SGD}, "method.mixup": mixup}
    one, two = (train(small_spec(changes), store, folder)["result"] for changes in (plain, split))
    assert one["final"]["train_loss"] == pytest.approx(two["final"]["train_loss"], rel=1e-4)
    assert one["gradient_evaluations"] == two["gradient_evaluations"] == 3 * IMAGES


def test_smaller_micro_batches_are_another_run_at_the_same_cost(store, folder):
    one, two = (train(spec_of("sam", rho=0.1, m=m), store, folder)["result"] for m in (64, 16))
    assert one["curves_sha256"] != two["curves_sha256"]
    assert one["gradient_evaluations"] == two["gradient_evaluations"] == 2 * 3 * IMAGES


def test_rho_follows_the_learning_rate_of_the_run(store, folder, monkeypatch):
    seen = []
    from noisybench.optim import SAM

    step = SAM.step

    def spy(self, *args, **kwargs):
        seen.append((self.param_groups[0]["lr"] / 0.1, self.rhos()[0] / 0.2))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(SAM, "step", spy)
    train(spec_of("sam", rho=0.2, rho_schedule="lr", rho_end=0.5), store, folder)
    assert len(seen) == 15
    assert [rho for _, rho in seen] == pytest.approx([0.5 + 0.5 * lr for lr, _ in seen])
    assert seen[0][1] == 1.0
    seen.clear()
    train(spec_of("sam", rho=0.2, rho_schedule="linear"), store, folder)
    assert [rho for _, rho in seen] == pytest.approx([1 - i / 15 for i in range(15)])


def test_rows_are_split_in_parts_of_m_and_none_is_left_alone():
    def sizes(size, m):
        parts = micro_batches(size, m, torch.device("cpu"))
        assert torch.cat(parts).tolist() == list(range(size))
        return [len(part) for part in parts]

    assert sizes(10, 4) == [4, 4, 2]
    assert sizes(9, 4) == [4, 5]
    assert sizes(3, 4) == [3]
    assert sizes(3, 1) == [1, 1, 1]
