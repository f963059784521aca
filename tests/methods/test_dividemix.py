"""DivideMix as a method: phases, exchange, empty sets, counting, resuming, learning."""

from __future__ import annotations

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench.errors import InputError
from noisybench.methods import mixmatch
from noisybench.methods.dividemix import DivideMix
from noisybench.train.trainer import train


def spec_of(changes=None, **params):
    algorithm = {"name": "dividemix", "warm_up": 2, "ramp": 2, **params}
    return small_spec({"method.algorithm": algorithm, "training.epochs": 4} | (changes or {}))


@pytest.mark.parametrize(
    ("changes", "params"),
    [
        ({}, {"average": 3, "confidence_penalty": True}),
        ({"model": {"name": "small_cnn", "width": 4}, "training.augment": ["crop", "flip"]}, {}),
        ({"training.optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}}, {}),
        ({"dataset.validation": 0.1, "training.batch_size": 100}, {"batch_size": 7}),
    ],
    ids=["history", "batch norm", "sam", "hold-out"],
)
def test_resuming_in_either_phase_changes_nothing(changes, params, tmp_path, store, folder):
    spec = spec_of(changes, **params)
    whole = train(spec, store, folder)
    assert whole["result"]["status"] == "finished"
    for epochs in (1, 2, 3):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


def test_each_network_learns_from_the_others_split(store, folder, monkeypatch):
    made, used, order = {}, {}, []
    divide, train_on = DivideMix.divide, DivideMix._train_on

    def watched_divide(self, number, epoch):
        order.append("divide")
        made[epoch, number] = divide(self, number, epoch)
        return made[epoch, number]

    def watched_train(self, split, number, epoch, loader):
        order.append("train")
        used[epoch, number] = split
        return train_on(self, split, number, epoch, loader)

    monkeypatch.setattr(DivideMix, "divide", watched_divide)
    monkeypatch.setattr(DivideMix, "_train_on", watched_train)
    train(spec_of(), store, folder)
    assert set(made) == set(used) == {(epoch, number) for epoch in (2, 3) for number in (0, 1)}
    assert all(used[epoch, number] is made[epoch, 1 - number] for epoch, number in used)
    assert order == ["divide", "divide", "train", "train"] * 2
    for split in made.values():
        assert sorted([*split.labelled.tolist(), *split.unlabelled.tolist()]) == list(range(300))
        assert (split.clean[split.labelled] > 0.5).all()
        assert (split.clean[split.unlabelled] <= 0.5).all()


def test_gradients_are_those_of_all_views(store, folder, monkeypatch):
    monkeypatch.setattr(mixmatch, "split_by_loss", lambda losses, seed: (1.0 * (losses.argsort().argsort() < 96), 0.3))
    result = train(spec_of(), store, folder)["result"]
    steps = 3  # 96 labelled images in batches of 32, half of 64
    unlabelled = 2 * 3 * 32  # two views of three batches out of 204 images
    later = 2 * 2 * (2 * steps * 32 + unlabelled)  # two epochs, two networks
    assert result["gradient_evaluations"] == 2 * 2 * 300 + later
    assert result["details"] == {"estimated_noise_rate": 0.3, "labelled_share": pytest.approx(96 / 300)}


@pytest.mark.parametrize("clean", [0, 1, 299, 300])
def test_it_survives_sets_that_are_empty_or_hold_one_image(clean, store, folder, monkeypatch):
    monkeypatch.setattr(
        mixmatch, "split_by_loss", lambda losses, seed: (1.0 * (losses.argsort().argsort() < clean), 1 - clean / 300)
    )
    result = train(spec_of({"model": {"name": "small_cnn", "width": 4}}), store, folder)["result"]
    assert result["status"] == "finished"
    assert result["details"]["labelled_share"] == pytest.approx(clean / 300)
    per_epoch = 2 * 300 if clean < 2 else 2 * 2 * clean
    assert result["gradient_evaluations"] == 2 * 2 * 300 + 2 * per_epoch


def test_one_schedule_runs_over_both_phases(store, folder):
    rates, phases = [], []

    def observe(event):
        if event["type"] == "epoch":
            rates.append(event["learning_rate"])
            phases.append(event["phase"])

    train(spec_of({"training.epochs": 5}), store, folder, observe=observe)
    assert phases == ["warm-up"] * 2 + ["co-divide"] * 3
    expected = [0.05 * (1 + torch.cos(torch.tensor(torch.pi * epoch / 5)).item()) for epoch in range(5)]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_the_warm_up_is_at_most_half_of_the_run(store, folder):
    result = train(spec_of({"training.epochs": 3}, warm_up=10), store, folder)["result"]
    assert result["epochs"] == 3
    assert result["details"]["labelled_share"] < 1  # there was a split


def test_mixup_of_the_suite_is_refused(store, folder):
    with pytest.raises(InputError, match="mixes by itself"):
        train(spec_of({"method.mixup": {"alpha": 1.0}}), store, folder)


def test_it_beats_plain_training_where_that_memorises(store, folder):
    """40 % wrong labels, 1,200 digits, the network of the other tests twice as wide, 30 epochs."""
    accuracies = {}
    for name, params in {"dividemix": {"warm_up": 5, "ramp": 5}, "erm": {}}.items():
        changes = {"dataset.train_subset": 1200, "dataset.test_subset": 500, "training.epochs": 30}
        changes |= {"method.algorithm": {"name": name, **params}, "model.width": 256}
        result = train(small_spec(changes), store, folder)["result"]
        accuracies[name] = result["test_accuracy"]["last"]
        if name == "dividemix":
            assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
            assert result["final"]["memorised"] < 10
    assert accuracies["dividemix"] > accuracies["erm"] + 5
