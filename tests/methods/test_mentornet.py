"""MentorNet: what steps see, which labels it asks for, and runs on digits."""

from __future__ import annotations

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench.errors import InputError, ParameterError
from noisybench.methods.mentornet import MentorNet
from noisybench.train.trainer import train

LEARNT = {"curriculum": "data_driven", "oracle": True, "mentor_steps": 150}
LARGER = {"training.epochs": 30, "dataset.train_subset": 1000, "dataset.test_subset": None, "model.width": 256}


def spec_of(changes=None, **params):
    return small_spec({"method.algorithm": {"name": "mentornet", **params}, "training.epochs": 4, **(changes or {})})


def test_without_oracle_there_is_no_data_driven_curriculum(store, folder):
    with pytest.raises(InputError, match="oracle: true"):
        train(spec_of(curriculum="data_driven"), store, folder)
    with pytest.raises(ParameterError, match="no clean labels"):
        train(spec_of(oracle=True), store, folder)
    with pytest.raises(InputError, match=r"method\.mixup"):
        train(spec_of({"method.mixup": {"alpha": 1.0}}), store, folder)


def spied_weights(monkeypatch):
    seen = []
    weigh = MentorNet.weigh

    def spy(self, losses, index, percent):
        weights = weigh(self, losses, index, percent)
        seen.append((percent, losses - self.threshold, weights))
        return weights

    monkeypatch.setattr(MentorNet, "weigh", spy)
    return seen


def test_the_predefined_curriculum_follows_the_percents_of_the_run(store, folder, monkeypatch):
    seen = spied_weights(monkeypatch)
    train(spec_of({"training.epochs": 10}), store, folder)
    assert [percent for percent, _, _ in seen] == list(range(0, 100, 2))  # 50 steps
    for percent, difference, weights in seen:
        if percent <= 18:
            assert (weights == 1).all()
        elif percent < 90:
            assert torch.equal(weights, (difference <= 0).float())
        else:
            torch.testing.assert_close(weights, (1 - difference).clamp(0, 1))


def test_a_burn_in_of_the_whole_run_without_dropout_is_plain_training(store, folder):
    plain = train(small_spec({"training.epochs": 4}), store, folder)["result"]
    mentor = train(spec_of(burn_in=100, dropout=[[0.0, 100]], percentile=1.0), store, folder)["result"]
    # v = 1 below 99 percent, and nothing lies above the largest loss of a step at 95
    assert mentor["details"]["weight_mean"] == 1
    assert mentor["curves_sha256"] == plain["curves_sha256"]


def test_dropout_leaves_its_share(store, folder, monkeypatch):
    from noisybench.methods import mentornet

    seen = []
    closure = mentornet.DecayedClosure

    def spy(*args, **kwargs):
        seen.append(int((args[3] > 0).sum()))
        return closure(*args, **kwargs)

    monkeypatch.setattr(mentornet, "DecayedClosure", spy)
    train(spec_of({"training.epochs": 2}, burn_in=100, dropout=[[0.5, 50], [1.0, 50]]), store, folder)
    assert seen == [32, 32, 32, 32, 22, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("params", [{}, LEARNT | {"burn_in": 50}], ids=["predefined", "data driven"])
def test_a_run_stopped_after_any_epoch_ends_the_same(params, tmp_path, store, folder):
    spec = spec_of({"dataset.validation": 0.1}, **params)
    whole = train(spec, store, folder)
    for epochs in range(1, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


def test_the_mentor_learns_in_the_burn_in_and_weighs_afterwards(store, folder, monkeypatch):
    seen = spied_weights(monkeypatch)
    result = train(spec_of(LARGER, **LEARNT), store, folder)["result"]
    burn_in = 5 * 16  # 18 percent of 30 epochs of 16 steps
    assert all((weights == 1).all() for _, _, weights in seen[:burn_in])
    assert all((weights != 1).any() for _, _, weights in seen[burn_in:])
    assert result["details"]["clean_labels"] == 100
    assert result["details"]["mentor_loss"] < 0.6


def test_only_the_share_is_looked_up(store, folder, monkeypatch):
    """Clean labels outside the share change nothing."""
    from noisybench.methods import task as tasks

    def result(poison):
        def oracle(self):
            given = original(self)
            return tasks.Oracle(given.noise_rate, poison(given.clean_labels))

        monkeypatch.setattr(tasks.Task, "oracle", oracle)
        return train(spec_of({}, **LEARNT), type(store)(store.root.parent / poison.__name__), folder)["result"]

    original = tasks.Task.oracle
    from noisybench.methods import mentornet

    chosen = []
    known_images = mentornet.known_images
    monkeypatch.setattr(
        mentornet, "known_images", lambda task, share: chosen.append(known_images(task, share)) or chosen[-1]
    )

    def outside(labels):
        labels = labels.clone()
        others = torch.ones(len(labels), dtype=torch.bool)
        others[chosen[-1]] = False
        labels[others] = 0
        return labels

    def inside(labels):
        labels = labels.clone()
        labels[chosen[-1]] = (labels[chosen[-1]] + 1) % 10
        return labels

    def nothing(labels):
        return labels

    honest = result(nothing)
    assert result(outside)["curves_sha256"] == honest["curves_sha256"]
    assert result(inside)["curves_sha256"] != honest["curves_sha256"]


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sam", "rho": 0.05, "base": {"name": "sgd", "lr": 0.1, "weight_decay": 5e-4}},
        {"name": "sam", "rho": 0.05, "m": 16, "base": {"name": "sgd", "lr": 0.1}},
        {"name": "sam", "rho": 0.05, "second_order": True, "base": {"name": "sgd", "lr": 0.1, "weight_decay": 5e-4}},
    ],
)
def test_it_works_with_sam(optimizer, store, folder):
    record = train(spec_of({"training.optimizer": optimizer}), store, folder)
    assert record["result"]["status"] == "finished"
    assert record["result"]["gradient_evaluations"] >= 2 * 4 * 300


@pytest.mark.parametrize("params", [{"percentile": 0.5}, LEARNT], ids=["predefined", "data driven"])
def test_it_beats_plain_training_under_noise(params, store, folder):
    plain = train(small_spec(LARGER), store, folder)["result"]
    mentor = train(spec_of(LARGER, **params), store, folder)["result"]
    assert mentor["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 10
    assert mentor["final"]["memorised"] < plain["final"]["memorised"] / 2
