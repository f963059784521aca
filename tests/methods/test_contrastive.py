"""SimCLR's start: the authors' loss, the representation of every network, what is kept, resuming, learning."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, resumed_equals_whole
from small_runs import small_spec, stopped_after

from noisybench import registry
from noisybench.errors import InputError
from noisybench.methods import contrastive
from noisybench.methods.contrastive import BASE_TEMPERATURE, Representation, SimCLRStart, nt_xent
from noisybench.methods.hidden_features import hidden_features
from noisybench.models import build_model
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "c2d.json").read_text())
DIGITS = [{"resized_crop": {"scale": 0.5}}, "color_jitter"]


def spec_of(changes=None, **params):
    algorithm = {"name": "simclr_start", "start_epochs": 2, "start_lr": 0.03, "start_augment": DIGITS, **params}
    return small_spec({"method.algorithm": algorithm} | (changes or {}))


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"T-{case['temperature']:g}")
def test_loss_and_gradients_are_the_authors(case):
    one, two = (torch.tensor(case[key], dtype=torch.float64, requires_grad=True) for key in ("one", "two"))
    losses = nt_xent(one, two, case["temperature"])
    assert losses.shape == (len(one),)
    loss = losses.mean() * case["temperature"] / BASE_TEMPERATURE
    gradients = torch.autograd.grad(loss, (one, two))
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    for mine, theirs in zip(gradients, (case["grad_one"], case["grad_two"]), strict=True):
        torch.testing.assert_close(mine, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_loss_by_hand_and_with_one_image():
    one, two = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # every view: 1 with its partner, 0 with the two others
    want = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert nt_xent(one, two, 0.5).tolist() == pytest.approx([want, want])
    alone = torch.randn(1, 4, requires_grad=True)
    loss = nt_xent(alone, torch.randn(1, 4), 0.5).sum()
    loss.backward()
    assert loss.item() == 0  # nothing to tell apart
    assert alone.grad.isfinite().all()


SMALL = {
    "cnn9": ({}, 28),
    "wrn": ({"depth": 10, "widen": 1}, 8),
    "resnet32_wide": ({}, 8),
    "mlp": ({"width": 8}, 4),
    "resnet18": ({}, 8),
    "resnet34": ({}, 8),
    "preact_resnet18": ({}, 8),
}
"""Parameters and image sizes that keep the test short."""


class FakeTask:
    """What ``Representation.of`` takes of a task."""

    def __init__(self, images):
        self.images = images

    def autocast(self):
        return torch.no_grad()

    def evaluate(self, function, images):
        return function(images)


@pytest.mark.parametrize("name", registry.names("model"))
def test_every_network_is_split_before_its_classifier(name):
    params, size = SMALL.get(name, ({}, 12))
    shape = (3, size, size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = [build_model(name, shape, 10, **params).eval() for _ in range(2)]
        images = torch.randn(2, *shape)
    representation = Representation.of(FakeTask(images), networks[0])
    with torch.no_grad():
        features = representation(networks[0], images)
        torch.testing.assert_close(features, hidden_features(networks[0], images)[-1])
        assert features.shape == (2, representation.size)
        untouched = {key: value.clone() for key, value in networks[1].state_dict().items()}
        representation.copy(*networks)
        torch.testing.assert_close(representation(networks[1], images), features)
    classifier = [key for key in untouched if key.rpartition(".")[0] in representation.classifier]
    assert classifier
    assert all(torch.equal(untouched[key], networks[1].state_dict()[key]) for key in classifier)
    assert not torch.equal(untouched[classifier[0]], networks[0].state_dict()[classifier[0]])


def test_what_the_authors_hand_on_is_handed_on():
    """Everything but the classifier is loaded, statistics included; the projection head is not."""
    assert REFERENCE["transfer"]["missing"] == ["fc.weight", "fc.bias"]
    assert {key.split(".")[0] for key in REFERENCE["transfer"]["unexpected"]} == {"head"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        source, target = (build_model("resnet20", (3, 8, 8), 10) for _ in range(2))
        source(torch.randn(4, 3, 8, 8))  # moves the statistics
    representation = Representation.of(FakeTask(torch.zeros(2, 3, 8, 8)), source.eval())
    representation.copy(source, target)
    same = {key for key, value in target.state_dict().items() if torch.equal(value, source.state_dict()[key])}
    assert set(source.state_dict()) - same == {f"{representation.classifier[0]}.{what}" for what in ("weight", "bias")}


def test_a_network_without_hidden_layers_is_refused(store, folder):
    with pytest.raises(InputError, match="hidden layer"):
        train(spec_of({"model": {"name": "mlp", "depth": 0}}), store, folder)


def watched(monkeypatch):
    """The algorithm as it is when its method begins, and all events of the run."""
    seen = {}
    begin = SimCLRStart.begin_method

    def watch(self):
        seen.update({key: value.clone() for key, value in self.model.state_dict().items()})
        seen["algorithm"] = self
        begin(self)

    monkeypatch.setattr(SimCLRStart, "begin_method", watch)
    return seen


@pytest.mark.parametrize("changes", [SAM, BATCH_NORM], ids=["sam", "batch norm"])
def test_the_first_phase_leaves_labels_and_classifier_alone(changes, tmp_path, store, folder, monkeypatch):
    seen, starts = watched(monkeypatch), []
    prepare = SimCLRStart.prepare
    monkeypatch.setattr(
        SimCLRStart,
        "prepare",
        lambda self, start: (
            starts.append({k: v.clone() for k, v in self.model.state_dict().items()}),
            prepare(self, start),
        ),
    )
    for rate in (0.4, 0.0):
        train(spec_of({"noise.rate": rate, "training.epochs": 1} | changes), type(store)(tmp_path / str(rate)), folder)
        algorithm = seen.pop("algorithm")
        assert algorithm.projection is None
        assert algorithm.pretrainer is None
        assert len(algorithm.task.optimizers) == 1
        moved = {key for key, value in seen.items() if not torch.equal(value, starts[-1][key])}
        classifier = {key for key in seen if key.rpartition(".")[0] in algorithm.representation.classifier}
        learnable = {key for key, value in algorithm.model.named_parameters()}
        assert moved & learnable == learnable - classifier
        if rate == 0.4:
            noisy = dict(seen)
    assert all(torch.equal(noisy[key], seen[key]) for key in noisy)  # other labels, same network


def test_phases_rates_and_gradients(store, folder):
    rows = []
    result = train(spec_of({"training.epochs": 2}), store, folder, observe=rows.append)["result"]
    rows = [row for row in rows if row["type"] == "epoch"]
    assert [row["phase"] for row in rows] == ["self-supervised"] * 2 + ["train"] * 2
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.03, 0.03 * (1 + 1e-3) / 2, 0.1, 0.05])
    assert result["epochs"] == 4
    assert result["gradient_evaluations"] == 2 * 2 * 300 + 2 * 300
    assert rows[1]["train_loss"] < rows[0]["train_loss"]


def test_without_stated_epochs_it_takes_as_many_as_the_training(store, folder):
    result = train(spec_of({"training.epochs": 2}, start_epochs=None, start_lr=None), store, folder)["result"]
    assert result["epochs"] == 4


def test_the_images_come_in_the_order_of_plain_training(tmp_path, store, folder, monkeypatch):
    """With a start that learns nothing the two runs are one."""
    monkeypatch.setattr(
        contrastive, "descend", lambda *arguments: torch.zeros(()), raising=True
    )  # erm has a descend of its own
    curves = []
    for spec in (small_spec({"method.mixup": {"alpha": 1.0}}), spec_of({"method.mixup": {"alpha": 1.0}})):
        rows = []
        train(spec, type(store)(tmp_path / str(len(curves))), folder, observe=rows.append)
        curves.append([row["test_loss"] for row in rows if row["type"] == "epoch" and row["phase"] == "train"])
    assert len(curves[0]) == 3
    assert curves[0] == curves[1]


@pytest.mark.parametrize("changes", [BATCH_NORM, SAM | HOLDOUT], ids=["batch norm", "sam, hold-out"])
def test_resuming_in_either_phase_changes_nothing(changes, tmp_path, store, folder):
    spec = spec_of({"training.epochs": 2, "method.mixup": {"alpha": 1.0}} | changes, start_batch_size=50)
    assert resumed_equals_whole(spec, tmp_path, store, folder)["epochs"] == 4


def test_a_run_resumed_after_the_phase_has_let_its_optimiser_go(store, folder, monkeypatch):
    spec = spec_of({"training.epochs": 2})
    stopped_after(spec, store, folder, 3)
    seen = []
    monkeypatch.setattr(
        SimCLRStart, "details", lambda self: seen.append((self.pretrainer, len(self.task.optimizers))) or {}
    )
    train(spec, store, folder)
    assert seen == [(None, 1)]


def test_it_learns_features_that_tell_digits_apart(store, folder, monkeypatch):
    """The nearest neighbour of the representation has the same digit more often than that of an untrained network."""
    shares = []

    def share(algorithm):
        task = algorithm.task
        found = task.evaluate(lambda images: algorithm.representation(algorithm.model, images), task.images)
        similar = torch.nn.functional.normalize(found - found.mean(dim=0), dim=1)
        nearest = (similar @ similar.T).fill_diagonal_(-2).argmax(dim=1)
        return float((task.labels[nearest] == task.labels).double().mean())

    prepare, begin = SimCLRStart.prepare, SimCLRStart.begin_method
    monkeypatch.setattr(SimCLRStart, "prepare", lambda self, start: (prepare(self, start), shares.append(share(self))))
    monkeypatch.setattr(SimCLRStart, "begin_method", lambda self: (begin(self), shares.append(share(self))))
    changes = {"noise.rate": 0.0, "training.epochs": 1, "model": {"name": "small_cnn", "width": 8}}
    train(spec_of(changes, start_epochs=8, start_lr=0.1), store, folder)
    assert shares[1] > shares[0] + 0.03
