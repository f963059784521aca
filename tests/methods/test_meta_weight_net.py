"""MW-Net: the authors' steps, exact second derivatives, the meta sets, what asks for clean labels, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from meta_steps import build, doubled, take_turns, task_of
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import cross_entropy

from noisybench.errors import InputError
from noisybench.methods.meta_weight_net import MetaWeightNet
from noisybench.methods.meta_weighting import WeightNet, first_of_each_class, meta_gradient
from noisybench.methods.task import Task
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "meta_weight_net.json").read_text())
NAME = {"name": "meta_weight_net"}
CLEAN = NAME | {"oracle": True, "meta_size": 40}
SHORT = {"training.epochs": 4, "training.batch_size": 90}


def test_steps_are_the_authors(monkeypatch):
    take_turns(REFERENCE["case"], doubled(REFERENCE["case"], CLEAN, monkeypatch))


def test_the_meta_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    weigher = WeightNet(2, width=5).double()
    x, y, scales = torch.randn(6, 3).double(), torch.tensor([0, 1, 1, 0, 1, 0]), torch.tensor([0, 1, 1, 0, 1, 0])
    meta_x, meta_y = torch.randn(4, 3).double(), torch.tensor([0, 1, 1, 0])

    def training_loss(network):
        losses = cross_entropy(network(x), y, reduction="none")
        return (weigher(losses.detach(), scales) * losses).mean()

    values = []

    def meta_loss(network):
        values.append(cross_entropy(network(meta_x), meta_y))
        return values[-1]

    exact = meta_gradient(network, weigher, training_loss, meta_loss, 0.7)
    assert all(parameter.grad is None for parameter in network.parameters())
    for parameter, gradient in zip(weigher.parameters(), exact, strict=True):
        for place in range(0, parameter.numel(), 3):
            sides = []
            for sign in (1, -1):
                parameter.data.view(-1)[place] += sign * 1e-5
                meta_gradient(network, weigher, training_loss, meta_loss, 0.7)
                sides.append(values[-1].item())
                parameter.data.view(-1)[place] -= sign * 1e-5
            assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(gradient.view(-1)[place].item(), abs=1e-8)


def test_without_a_virtual_step_nothing_is_learnt():
    weigher = WeightNet()
    network = torch.nn.Linear(3, 2)
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 1, 0, 1, 0])

    def weighted(network):
        losses = cross_entropy(network(x), y, reduction="none")
        return (weigher(losses.detach(), torch.zeros_like(y)) * losses).mean()

    gradients = meta_gradient(network, weigher, weighted, lambda network: cross_entropy(network(x), y), 0.0)
    assert all(not gradient.any() for gradient in gradients)


def test_the_first_of_each_class_come_in_the_given_order():
    labels = torch.tensor([0, 1, 1, 0, 1, 3, 0])
    order = torch.tensor([6, 4, 3, 2, 1, 5])
    assert first_of_each_class(order, labels, 2).tolist() == [2, 3, 4, 5, 6]
    assert first_of_each_class(order, labels, 1).tolist() == [4, 5, 6]
    assert first_of_each_class(order[:0], labels, 1).tolist() == []


def test_clean_meta_images_leave_the_training_part():
    method = build(CLEAN, count=400)
    meta, rest = method.meta_index, method.loader(None).index
    assert torch.bincount(method.meta_labels[meta]).tolist() == [10] * 4
    assert sorted(torch.cat([meta, rest]).tolist()) == method.task.index.tolist()  # disjoint, no hold-out
    assert (method.meta_labels[meta] != method.task.labels[meta]).any()
    meta_loader = method._meta_loader()
    assert set(meta_loader.index.tolist()) == set(meta.tolist())
    assert torch.equal(meta_loader.labels, method.task.oracle().clean_labels)


def test_the_clean_set_is_two_percent_unless_a_size_is_stated():
    assert len(build(NAME | {"oracle": True}, count=1000).meta_index) == 4 * 4  # of 900
    assert len(build(NAME | {"oracle": True}, count=100).meta_index) == 4
    assert len(build(NAME | {"oracle": True, "meta_size": 43}, count=400).meta_index) == 40


@pytest.mark.parametrize("oracle", [True, False])
def test_impossible_sizes_are_refused(oracle):
    with pytest.raises(InputError, match="meta_size: must be at least the number of classes, 4, not 3"):
        build(NAME | {"oracle": oracle, "meta_size": 3})
    with pytest.raises(InputError, match="meta_size: must leave at least a third of the 180 training images"):
        build(NAME | {"oracle": oracle, "meta_size": 121})


def test_without_oracle_the_smallest_losses_by_noisy_labels_are_the_meta_set():
    method = build(NAME | {"meta_size": 20, "warm_up": 0}, count=400, model="mlp", width=16)
    method.begin_epoch(0, method.loader(None))
    task, index, meta = method.task, method.task.index, method.meta_index
    assert torch.equal(method.loader(None).index, index)  # they are trained on as well
    losses = cross_entropy(
        task.predict_train(lambda images: task.forward(method.model, images)), task.labels, reduction="none"
    )
    for c in range(4):
        own = index[task.labels[index] == c]
        expected = own[losses[own].argsort()[:5]]
        assert set(expected.tolist()) == set(meta[task.labels[meta] == c].tolist())


def test_clean_labels_steer_nothing_without_oracle(store, folder, monkeypatch):
    monkeypatch.setattr(Task, "oracle", lambda self: pytest.fail("nobody may ask"))
    train(small_spec({"method.algorithm": NAME, "training.epochs": 2}), store, folder)


def test_mixup_is_refused():
    task = task_of(NAME)
    task.mixup = {"alpha": 1.0}
    with pytest.raises(InputError, match="cannot be combined with"):
        MetaWeightNet(task)


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [(NAME, {}), (CLEAN, BATCH_NORM), (NAME | {"warm_up": 1, "meta_every": 2}, SAM | HOLDOUT)],
    ids=["small losses", "clean, batch norm", "sam, hold-out"],
)
def test_resuming_changes_nothing(algorithm, changes, tmp_path, store, folder):
    resumed_equals_whole(small_spec({"method.algorithm": algorithm} | SHORT | changes), tmp_path, store, folder)


def test_gradients_are_counted(store, folder):
    spec = small_spec({"method.algorithm": NAME | {"warm_up": 0, "meta_size": 50}, "training.epochs": 1})
    counted = train(spec, store, folder)["result"]["gradient_evaluations"]
    assert counted == 300 + 2 * 300 + 50 * 5  # its own, the virtual step's two, the meta images' of each of five steps


@pytest.mark.parametrize("knows", [{"warm_up": 5}, {"oracle": True, "meta_size": 100}], ids=["small losses", "clean"])
def test_it_beats_plain_training_where_that_memorises(knows, tmp_path, folder):
    plain, result = (memorising(algorithm, tmp_path, folder) for algorithm in ({"name": "erm"}, NAME | knows))
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < plain["final"]["memorised"] / 2
    assert result["details"]["meta_images"] == 100
    assert 0 < result["details"]["weight_mean"] < 1
