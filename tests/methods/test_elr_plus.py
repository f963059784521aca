"""ELR+: ramps by hand, who makes whose targets, averages, resuming, learning."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import one_hot

from noisybench.methods import elr_plus
from noisybench.methods.elr import remembered
from noisybench.methods.elr_plus import EarlyLearningRegularisationPlus, refined, sigmoid_ramp
from noisybench.methods.mixing import Mix
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "elr_plus.json").read_text())


def double(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"lambda-{case['hyper']['lambda']}")
def test_losses_gradients_and_targets_are_the_authors(case):
    classes, hyper = case["num_classes"], case["hyper"]
    table = torch.zeros(case["num_examples"], classes, dtype=torch.float64)
    for step in case["steps"]:
        index, labels = torch.tensor(step["index"]), one_hot(torch.tensor(step["labels"]), classes).double()
        seen = torch.softmax(double(step["averages_logits"]), dim=1)
        moved = table[index] = remembered(table[index], seen, hyper["beta"])
        mix = Mix(double(step["weight"]), torch.tensor(step["partner"]))
        logits, targets = double(step["logits"]).requires_grad_(), mix.images(moved)
        mixed = refined(mix.images(labels), targets) if case["refine"] else mix.images(labels)
        strength = hyper["lambda"] * sigmoid_ramp(step["iteration"], hyper["coef_step"])
        loss = elr_plus.objective(logits, mixed, targets, strength).mean()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(step["loss"], rel=1e-9)
        torch.testing.assert_close(gradient, double(step["grad_logits"]), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(table[index], double(step["target_after"]), rtol=1e-9, atol=1e-12)


def test_the_ramp_is_the_authors():
    for done, length, value in REFERENCE["ramp"]:
        assert sigmoid_ramp(done, length) == pytest.approx(value, rel=1e-12)


def test_the_ramp_by_hand():
    assert sigmoid_ramp(0.0, 10) == pytest.approx(math.exp(-5))
    assert sigmoid_ramp(5.0, 10) == pytest.approx(math.exp(-1.25))
    assert sigmoid_ramp(10.0, 10) == sigmoid_ramp(99.0, 10) == sigmoid_ramp(0.0, 0) == 1.0


def test_refined_labels_by_hand():
    labels = torch.tensor([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    targets = torch.tensor([[0.2, 0.6, 0.2], [0.0, 0.5, 0.5]], dtype=torch.float64)
    assert refined(labels, targets).tolist() == [pytest.approx([0.5, 0.5, 0.0]), pytest.approx([0.0, 0.0, 0.0])]


def watched_run(monkeypatch, store, folder, changes, **params):
    """The algorithm after one epoch, with the weights that every step started from."""
    kept = []
    monkeypatch.setattr(EarlyLearningRegularisationPlus, "details", lambda self: (kept.append(self), {})[1])
    algorithm = {"name": "elr_plus", **params}
    train(small_spec({"method.algorithm": algorithm, "training.epochs": 1} | changes), store, folder)
    return kept[0]


def test_targets_of_a_network_come_from_the_average_of_the_other(store, folder, monkeypatch):
    """The first network's targets in the first epoch are (1 - beta) times what the second's untouched start says."""
    algorithm = watched_run(monkeypatch, store, folder, {}, beta=0.7)
    task = algorithm.task
    task.models_made = 1
    start = task.model()  # the second network's initial weights again
    said = task.predict_train(lambda x: torch.softmax(task.forward(start, x), dim=1))
    torch.testing.assert_close(algorithm.targets[0], 0.3 * said, rtol=1e-4, atol=1e-6)
    later = task.predict_train(lambda x: torch.softmax(task.forward(algorithm.averages[0], x), dim=1))
    torch.testing.assert_close(algorithm.targets[1], 0.3 * later, rtol=1e-4, atol=1e-6)


def test_an_average_follows_its_network(store, folder, monkeypatch):
    decays = []
    update = elr_plus.update_average

    def watched(average, network, decay):
        before = [p.clone() for p in average.parameters()]
        update(average, network, decay)
        decays.append(decay)
        for old, new, now in zip(before, average.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * now.detach(), rtol=1e-5, atol=1e-6)

    monkeypatch.setattr(elr_plus, "update_average", watched)
    watched_run(monkeypatch, store, folder, {}, average_ramp=2, decay=0.9)
    steps = 5  # of 64 images out of 300; the ramp is 10 steps long and one step ahead
    expected = [0.9 * math.exp(-5 * (1 - min(1, (step + 2) / 10)) ** 2) for step in range(steps)]
    assert decays == pytest.approx(expected * 2)


def test_both_networks_have_orders_of_their_own(store, folder, monkeypatch):
    seen = {0: [], 1: []}
    step = EarlyLearningRegularisationPlus._step

    def watched(self, number, batch, mix, done):
        seen[number].extend(batch.index.tolist())
        assert 0.5 <= float(mix.weight) <= 1
        return step(self, number, batch, mix, done)

    monkeypatch.setattr(EarlyLearningRegularisationPlus, "_step", watched)
    watched_run(monkeypatch, store, folder, {})
    assert seen[0] != seen[1]
    assert all(sorted(order) == list(range(300)) for order in seen.values())


@pytest.mark.parametrize(
    ("changes", "params"),
    [({}, {"ramp": 2, "refine": True}), (BATCH_NORM, {}), (SAM, {}), (HOLDOUT, {})],
    ids=["ramps", "batch norm", "sam", "hold-out"],
)
def test_resuming_changes_nothing(changes, params, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "elr_plus", "average_ramp": 2, **params}} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "elr_plus", "average_ramp": 5}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
