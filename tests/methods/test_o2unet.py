"""O2U-Net: its learning rate, its sums of losses, its three phases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench import registry
from noisybench.methods.o2unet import O2UNet, centred, cyclic_rate
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "schedules_by_hand.json").read_text())
DIGITS = {"dataset.train_subset": None, "dataset.test_subset": None, "model.width": 256, "training.epochs": 25}


def test_the_learning_rate_cycles_as_published():
    for row in REFERENCE["o2u_cyclical_lr_first_20_epochs"]:
        assert cyclic_rate(row["epoch"], 10, 0.01, 0.001) == pytest.approx(row["lr"], rel=1e-12)
    assert [cyclic_rate(e, 1, 0.01, 0.001) for e in range(3)] == [0.001] * 3


def test_losses_are_taken_less_their_mean_over_those_seen():
    nan = math.nan
    assert centred(torch.tensor([1.0, nan, 4.0, 1.0])).tolist() == [-1.0, 0.0, 2.0, -1.0]
    assert centred(torch.tensor([nan, nan])).tolist() == [0.0, 0.0]


def watched(changes, store, folder, **options):
    """The algorithm after a run, and the rows of its epochs."""
    made, rows = [], []
    begin = O2UNet.begin_phase

    def begin_phase(self, number, phase):
        begin(self, number, phase)
        made.append((self, phase.name, [p.detach().clone() for p in self.model.parameters()]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(O2UNet, "begin_phase", begin_phase)
        spec = small_spec({"method.algorithm": {"name": "o2unet", **options}} | changes)
        train(spec, store, folder, observe=lambda event: rows.append(event) if event["type"] == "epoch" else None)
    return made, rows


def test_three_phases_with_their_own_learning_rates_and_batches(store, folder):
    changes = {"training.optimizer": {"name": "sgd", "lr": 0.05}, "training.schedule": {"name": "constant"}}
    made, rows = watched(changes, store, folder, forget_rate=0.4, cycle_epochs=4, period=2)
    assert [row["phase"] for row in rows] == ["pretrain"] * 3 + ["cycle"] * 4 + ["retrain"] * 3
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([0.05] * 3 + [0.0055, 0.001, 0.0055, 0.001] + [0.05] * 3)
    algorithm, _, _ = made[-1]
    assert int(algorithm.kept.sum()) == 180  # of 300
    assert algorithm.sums.sum().item() == pytest.approx(0, abs=1e-3)
    kept, dropped = algorithm.sums[algorithm.kept], algorithm.sums[~algorithm.kept]
    assert kept.max() <= dropped.min()
    assert algorithm.task.gradient_evaluations == 7 * 300 + 3 * 180


@pytest.mark.parametrize("start", ["scratch", "pretrained"])
def test_the_last_phase_starts_where_it_should(start, store, folder):
    made, _ = watched({}, store, folder, forget_rate=0.2, retrain_from=start)
    weights = {name: weights for _, name, weights in made}
    first = weights["pretrain" if start == "scratch" else "cycle"]  # the cycle begins where pretraining ended
    assert all(torch.equal(one, two) for one, two in zip(first, weights["retrain"], strict=True))
    assert not torch.equal(weights["pretrain"][0], weights["cycle"][0])


def test_what_is_dropped_is_mostly_wrong_and_the_rest_trains_better(tmp_path, store, folder):
    plain = train(small_spec(DIGITS), store, folder)["result"]
    made, _ = watched(DIGITS, type(store)(tmp_path / "o2u"), folder, forget_rate=0.4, cycle_epochs=10)
    algorithm, _, _ = made[-1]
    from noisybench.train.setup import load_subset, noisy_labels

    spec = algorithm.task.spec
    wrong = torch.from_numpy(noisy_labels(spec, load_subset(spec, folder)).flipped)
    assert wrong[algorithm.kept].double().mean() < 0.2
    record = train(small_spec(DIGITS | {"method.algorithm": {"name": "o2unet", "cycle_epochs": 10}}), store, folder)[
        "result"
    ]
    assert record["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 4
    assert record["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
    assert record["details"]["kept_share"] == pytest.approx(1 - record["details"]["noise_rate"], abs=0.001)


@pytest.mark.parametrize("start", ["scratch", "pretrained"])
@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_stopped_after_any_epoch_it_ends_with_the_same_record(start, optimizer, tmp_path, store, folder):
    algorithm = {"name": "o2unet", "cycle_epochs": 2, "estimate_epochs": 1, "retrain_from": start}
    changes = {"method.algorithm": algorithm, "dataset.validation": 0.1, "training.epochs": 2}
    if optimizer == "sam":
        changes["training.optimizer"] = {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}
    spec = small_spec(changes)
    whole = train(spec, store, folder)
    assert whole["result"]["epochs"] == 1 + 2 + 2 + 2
    for epochs in range(1, 7):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


@pytest.mark.parametrize("rate", [0.0, 0.999])
def test_keeping_all_and_hardly_any_are_runs_too(rate, store, folder):
    changes = {"training.epochs": 2, "training.drop_last": True, "model": {"name": "small_cnn"}}
    made, _ = watched(changes, store, folder, forget_rate=rate, cycle_epochs=1)
    assert int(made[-1][0].kept.sum()) == (300 if rate == 0 else 2)


def test_epochs_are_typed_so_that_smoke_runs_scale_them():
    component = registry.get("algorithm", "o2unet")
    counted = {key for key in component.keys if "epochs" in component.markers(key)}
    assert counted == {"cycle_epochs", "period", "estimate_epochs"}
