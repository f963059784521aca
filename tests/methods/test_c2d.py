"""Contrast to Divide: the authors' split, what starts the networks, the order of passes, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench import registry
from noisybench.errors import InputError
from noisybench.methods import mixmatch
from noisybench.methods.c2d import ROUNDS, ContrastToDivide, ContrastToDivideELRPlus, inside
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "c2d.json").read_text())
SEED = 3
"""Of numpy's global generator in the reference: the mixture starts from k-means."""
START = {"start_lr": 0.03, "start_augment": [{"resized_crop": {"scale": 0.5}}, "color_jitter"]}
CLASSES = {"c2d": ContrastToDivide, "c2d_elr_plus": ContrastToDivideELRPlus}


def spec_of(changes=None, name="c2d", **params):
    own = {"c2d": {"warm_up": 1, "ramp": 2}, "c2d_elr_plus": {"average_ramp": 2}}[name]
    algorithm = {"name": name, "start_epochs": 1, **START, **own, **params}
    return small_spec({"method.algorithm": algorithm, "training.epochs": 3} | (changes or {}))


@pytest.mark.parametrize("case", REFERENCE["split"], ids=lambda case: f"{case['noise_rate']:g}")
def test_the_posterior_is_the_authors(case):
    history = torch.tensor(case["history"], dtype=torch.float32)[-5:]
    posterior, _ = mixmatch.split_by_loss(history.mean(dim=0).double().numpy(), SEED, ROUNDS)
    np.testing.assert_allclose(posterior, case["posterior"], rtol=1e-6, atol=1e-9)  # they fit losses in float32


def test_the_threshold_leaves_neither_set_empty_as_the_authors():
    for case in REFERENCE["thresholds"]:
        posterior = np.array(REFERENCE["split"][case["case"]]["posterior"])
        cut = inside(case["threshold"], posterior)
        assert cut == pytest.approx(case["cut"], abs=1e-12)
        assert 0 < (posterior > cut).sum() < len(posterior)
    assert (np.ones(4) > inside(0.5, np.ones(4))).all()  # equal losses: all labels count as right


@pytest.mark.parametrize("name", CLASSES)
def test_what_was_learnt_starts_both_networks_each_with_its_own_classifier(name, store, folder, monkeypatch):
    seen = {}
    prepare, begin = CLASSES[name].prepare, CLASSES[name].begin_method

    def states(algorithm):
        networks = [*algorithm.networks, *getattr(algorithm, "averages", [])]
        return [{key: value.clone() for key, value in network.state_dict().items()} for network in networks]

    def watched_prepare(self, start):
        seen["before"] = states(self)
        prepare(self, start)

    def watched_begin(self):
        begin(self)
        seen["after"], seen["classifier"] = states(self), self.representation.classifier

    monkeypatch.setattr(CLASSES[name], "prepare", watched_prepare)
    monkeypatch.setattr(CLASSES[name], "begin_method", watched_begin)
    train(spec_of(BATCH_NORM, name), store, folder)
    before, (one, two, *averages) = seen["before"], seen["after"]
    for key in one:
        if key.rpartition(".")[0] in seen["classifier"]:
            assert torch.equal(one[key], before[0][key])
            assert torch.equal(two[key], before[1][key])
            assert not torch.equal(one[key], two[key])
        else:
            assert torch.equal(one[key], two[key])
            assert not torch.equal(one[key], before[0][key])
    for average, network in zip(averages, (one, two), strict=bool(averages)):
        assert all(torch.equal(average[key], network[key]) for key in network)


def test_the_second_split_is_made_after_the_first_pass(store, folder, monkeypatch):
    order = []
    divide, train_on = ContrastToDivide.divide, ContrastToDivide._train_on

    def watched_divide(self, number, epoch):
        split = divide(self, number, epoch)
        order.append(("divide", number, epoch, id(split)))
        return split

    def watched_train(self, split, number, epoch, loader):
        assert order[-1][0] == "divide"
        assert order[-1][3] == id(split)
        order.append(("train", number, epoch))
        return train_on(self, split, number, epoch, loader)

    monkeypatch.setattr(ContrastToDivide, "divide", watched_divide)
    monkeypatch.setattr(ContrastToDivide, "_train_on", watched_train)
    train(spec_of(), store, folder)
    want = [("divide", 1), ("train", 0), ("divide", 0), ("train", 1)]
    assert [step[:3] for step in order] == [(*step, epoch) for epoch in (1, 2) for step in want]


def test_losses_of_the_warm_up_count_where_losses_are_averaged(store, folder, monkeypatch):
    lengths = []
    posterior = ContrastToDivide._posterior

    def watched(self, losses, seed):
        lengths.append(len(self.history[1]))
        return posterior(self, losses, seed)

    monkeypatch.setattr(ContrastToDivide, "_posterior", watched)
    train(spec_of(average=2), store, folder)
    assert lengths == [0, 1, 2, 2, 2, 2]  # both networks in the warm-up, the second first afterwards


def test_phases_and_gradients(store, folder, monkeypatch):
    rows = []
    monkeypatch.setattr(mixmatch, "split_by_loss", lambda losses, *rest: (1.0 * (losses.argsort().argsort() < 96), 0.3))
    result = train(spec_of(start_epochs=2), store, folder, observe=rows.append)["result"]
    rows = [row for row in rows if row["type"] == "epoch"]
    assert [row["phase"] for row in rows] == ["self-supervised"] * 2 + ["warm-up"] + ["co-divide"] * 2
    rates = [0.05 * (1 + np.cos(np.pi * epoch / 3)) for epoch in range(3)]  # the suite's schedule over its own epochs
    assert [row["learning_rate"] for row in rows][2:] == pytest.approx(rates)
    later = 2 * 2 * (2 * 96 + 2 * 96)  # two epochs, two networks, two views of three labelled and unlabelled batches
    assert result["gradient_evaluations"] == 2 * 2 * 300 + 2 * 300 + later


@pytest.mark.parametrize(
    ("name", "changes", "params"),
    [
        ("c2d", BATCH_NORM, {"average": 3}),
        ("c2d", SAM | HOLDOUT, {"batch_size": 7}),
        ("c2d_elr_plus", BATCH_NORM | HOLDOUT, {}),
    ],
)
def test_resuming_in_any_phase_changes_nothing(name, changes, params, tmp_path, store, folder):
    resumed_equals_whole(spec_of(changes, name, **params), tmp_path, store, folder)


@pytest.mark.parametrize("name", CLASSES)
def test_two_networks_answer_and_mixup_is_refused(name, store, folder):
    assert registry.get("algorithm", name).traits["ensemble"] == 2
    with pytest.raises(InputError, match="alpha"):
        train(spec_of({"method.mixup": {"alpha": 1.0}}, name), store, folder)


def test_it_holds_wrong_labels_off(tmp_path, folder):
    algorithm = {"name": "c2d", "start_epochs": 2, **START, "warm_up": 4, "ramp": 2}
    result = memorising(algorithm, tmp_path, folder, training__epochs=8, model__width=128)
    assert result["test_accuracy"]["last"] > 90
    assert result["final"]["memorised"] < 10
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
