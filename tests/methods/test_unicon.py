"""UNICON: a step and the selection of the authors' code, empty sets, counting, resuming, learning."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch import nn

from noisybench.errors import InputError
from noisybench.methods import mixmatch
from noisybench.methods.contrastive import nt_xent
from noisybench.methods.dividemix import Split
from noisybench.methods.unicon import TEMPERATURE, Unicon, cut_off, jensen_shannon, trust, uniform_selection
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "unicon.json").read_text())
DIVERGENCE = REFERENCE["divergence"]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def spec_of(changes=None, **params):
    algorithm = {"name": "unicon", "warm_up": 2, "ramp": 2, "dimensions": 8, **params}
    return small_spec({"method.algorithm": algorithm, "training.epochs": 4} | (changes or {}))


def linear(weights, name):
    layer = nn.Linear(len(weights[f"{name}.weight"][0]), len(weights[f"{name}.bias"]), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(double(weights[f"{name}.weight"]))
        layer.bias.copy_(double(weights[f"{name}.bias"]))
    return layer


def test_the_gradients_of_a_step_are_the_authors():
    step = REFERENCE["step"]
    own, other = ({n: linear(step[w], n) for n in ("trunk", "linear")} for w in ("network", "other"))
    head = nn.Sequential(linear(step["network"], "projection_head"), nn.BatchNorm1d(3, dtype=torch.float64))
    labelled, unlabelled = ([double(view) for view in step[k]] for k in ("labelled", "unlabelled"))

    def logits(network, x):
        return network["linear"](torch.tanh(network["trunk"](x)))

    with torch.no_grad():
        guesses = [logits(network, x) for network in (own, other) for x in unlabelled[:2]]
        guessed = mixmatch.guessed_targets(guesses, step["temperature"])
        refined = mixmatch.refined_targets(
            [logits(own, x) for x in labelled[:2]],
            torch.tensor(step["labels"]),
            double(step["trust"]),
            step["temperature"],
        )
    images, targets = torch.cat([*labelled[2:], *unlabelled[2:]]), torch.cat([refined, refined, guessed, guessed])
    joined = mixmatch.MixedBatch(images, targets, 2 * len(labelled[0]))
    mixed = mixmatch.mix(joined, double(step["weight"]), torch.tensor(step["partner"]))
    one, two = (head(torch.tanh(own["trunk"](x))) for x in unlabelled[2:])
    strength = step["lambda_u"] * mixmatch.ramp(step["epoch"] - step["warm_up"], step["ramp"])
    loss = mixed.losses(logits(own, mixed.images), strength).mean()
    loss = loss + step["lambda_c"] * nt_xent(one, two, TEMPERATURE).mean()
    loss.backward()
    parts = {**own, "projection_head": head[0], "bnl": head[1]}
    for name, theirs in step["gradients"].items():
        part, _, parameter = name.partition(".")
        torch.testing.assert_close(getattr(parts[part], parameter).grad, double(theirs), rtol=1e-9, atol=1e-12)


def test_divergences_are_the_authors():
    """Up to the 1e-10 that their logarithms add."""
    p = mixmatch.mean_probabilities([double(z) for z in DIVERGENCE["logits"]])
    mine = jensen_shannon(p, torch.tensor(DIVERGENCE["labels"]))
    torch.testing.assert_close(mine, double(DIVERGENCE["distances"]), rtol=0, atol=2e-9)


@pytest.mark.parametrize("case", REFERENCE["selection"], ids=lambda case: case["rule"])
def test_the_selection_is_the_authors(case):
    distances, labels = double(DIVERGENCE["distances"]), torch.tensor(DIVERGENCE["labels"])
    share = float((distances < cut_off(distances, 0.7 if case["rule"] == "mean" else 0.0, 5.0)).double().mean())
    assert share == case["share"]
    chosen = uniform_selection(distances, labels, share, 4)
    assert chosen.nonzero()[:, 0].tolist() == sorted(case["chosen"])
    assert trust(distances)[case["chosen"]].tolist() == pytest.approx(case["trust"], rel=1e-9)


def test_divergence_has_its_ends():
    p = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    same, opposite, between = jensen_shannon(p, torch.zeros(3, dtype=torch.int64)).tolist()
    assert same == 0
    assert opposite == pytest.approx(math.log(2))
    assert 0 < between < opposite


def test_a_class_with_few_images_or_none_gives_what_it_has():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 3])
    distances = torch.tensor([0.6, 0.1, 0.5, 0.2, 0.4, 0.3, 0.9, 0.0])
    chosen = uniform_selection(distances, labels, 1.0, 4)  # two of each class
    assert chosen.tolist() == [False, True, False, True, False, False, True, True]
    assert not uniform_selection(distances, labels, 0.4, 4).any()
    tied = uniform_selection(torch.zeros(8), labels, 1.0, 4)
    assert tied.tolist() == [True, True, False, False, False, False, True, True]


def of_size(number):
    def divide(self, network, epoch):
        self.filter_rate = max(number, 1) / 300
        self.labelled_shares[network] = number / 300
        order = torch.arange(300)
        return Split(torch.ones(300), order[:number], order[number:])

    return divide


@pytest.mark.parametrize("number", [1, 299, 300])
def test_it_survives_sets_that_are_empty_or_hold_one_image(number, store, folder, monkeypatch):
    monkeypatch.setattr(Unicon, "divide", of_size(number))
    result = train(spec_of(BATCH_NORM), store, folder)["result"]
    assert result["status"] == "finished"
    per_epoch = 2 * 300 if number < 2 else 2 * 2 * number
    assert result["gradient_evaluations"] == 2 * 2 * 300 + 2 * per_epoch


def test_gradients_are_those_of_strong_views_and_projections(store, folder, monkeypatch):
    monkeypatch.setattr(Unicon, "divide", of_size(96))
    result = train(spec_of(), store, folder)["result"]
    guessed = 3 * int(32 / (2 * 96 / 300))  # three batches of 32 labelled images, 50 unlabelled beside each
    assert guessed == 3 * 50
    per_pass = 2 * 96 + 2 * guessed + 2 * guessed
    assert result["gradient_evaluations"] == 2 * 2 * 300 + 2 * 2 * per_pass
    plain = train(spec_of(lambda_c=0.0), store, folder)["result"]
    assert plain["gradient_evaluations"] == 2 * 2 * 300 + 2 * 2 * (2 * 96 + 2 * guessed)


def test_each_split_is_made_just_before_its_pass_and_covers_the_training_part(store, folder, monkeypatch):
    order = []
    divide, train_on = Unicon.divide, Unicon._train_on

    def watched_divide(self, number, epoch):
        split = divide(self, number, epoch)
        order.append(("divide", number))
        assert sorted([*split.labelled.tolist(), *split.unlabelled.tolist()]) == sorted(self.task.index.tolist())
        counts = torch.bincount(self.task.labels[split.labelled], minlength=10)
        assert counts.max() <= self.filter_rate * len(self.task.index) / 10
        return split

    def watched_train(self, split, number, epoch, loader):
        order.append(("train", number))
        return train_on(self, split, number, epoch, loader)

    monkeypatch.setattr(Unicon, "divide", watched_divide)
    monkeypatch.setattr(Unicon, "_train_on", watched_train)
    train(spec_of({"dataset.validation": 0.1}), store, folder)
    assert order == [("divide", 0), ("train", 0), ("divide", 1), ("train", 1)] * 2


def test_contrast_moves_the_projections(store, folder, monkeypatch):
    """Without it nothing but weight decay does."""
    seen = []
    details = Unicon.details

    def watched(self):
        seen.append([p.detach().clone() for net in self.networks for p in net.head.parameters()])
        return details(self)

    monkeypatch.setattr(Unicon, "details", watched)
    changes = {"training.optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0}}
    train(spec_of(changes, lambda_c=0.0), store, folder)
    train(spec_of(changes), store, folder)
    still, moved = seen
    assert not any(torch.equal(a, b) for a, b in zip(still[::4], moved[::4], strict=True))
    assert not torch.equal(still[0], still[4])  # each network has its own


@pytest.mark.parametrize("changes", [BATCH_NORM, SAM, HOLDOUT], ids=["batch norm", "sam", "hold-out"])
def test_resuming_in_either_phase_changes_nothing(changes, tmp_path, store, folder):
    resumed_equals_whole(spec_of(changes, confidence_penalty=True), tmp_path, store, folder)


@pytest.mark.parametrize("average", [{"kind": "ema", "decay": 0.9, "start": 0.0}, {"kind": "swa", "start": 0.5}])
def test_its_weights_can_be_averaged(average, store, folder):
    spec = spec_of(BATCH_NORM | {"method.averaging": average})
    assert train(spec, store, folder)["result"]["status"] == "finished"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"method.mixup": {"alpha": 1.0}}, "method.mixup"), ({"model": {"name": "mlp", "depth": 0}}, "hidden layer")],
)
def test_what_it_cannot_do_is_refused(changes, message, store, folder):
    with pytest.raises(InputError, match=message):
        train(spec_of(changes), store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    settings = {"name": "unicon", "warm_up": 5, "ramp": 5, "batch_size": 100}
    plain, result = (memorising(algorithm, tmp_path, folder) for algorithm in ({"name": "erm"}, settings))
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
