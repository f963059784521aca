"""CMW-Net: the authors' steps with soft labels, groups of classes, the average, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from meta_steps import build, doubled, fill, same, take_turns, tensor
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.errors import InputError
from noisybench.methods.class_meta_weight_net import folded, group_classes, refined, soft_losses
from noisybench.methods.mixing import Mix
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "class_meta_weight_net.json").read_text())
NAME = {"name": "class_meta_weight_net"}
SOFT = NAME | {"soft_labels": True}
SHORT = {"training.epochs": 4, "training.batch_size": 90}


def test_steps_with_soft_labels_are_the_authors(monkeypatch):
    case = REFERENCE["case"]
    method = doubled(case, SOFT | {"decay": case["decay"], "meta_lr": case["meta_lr"]}, monkeypatch)
    method.average.double()
    fill(method.average, case["network"])
    method.scales = torch.tensor(case["groups"])
    done, seen = iter(case["steps"]), []

    def prepare(step):
        method.mixes = iter([Mix(tensor(step["mix"]["weight"]), torch.tensor(step["mix"]["partner"]))])
        meta = step["meta_mix"]
        method.meta_mixes = iter([Mix(tensor(meta["weight"]), torch.tensor(meta["partner"]))])

    weigh, average_step = method.weigh, method.step
    method.weigh = lambda *arguments: seen.append(weigh(*arguments)) or seen[-1]

    def step_and_look(batch):
        average_step(batch)
        step = next(done)
        same(method.average, step["average"])
        torch.testing.assert_close(seen[-1], tensor(step["weights"]), rtol=1e-9, atol=1e-12)

    method.step = step_and_look
    take_turns(case, method, prepare)


@pytest.mark.parametrize("case", REFERENCE["groups"], ids=lambda case: f"{len(case['sizes'])} classes")
def test_groups_are_as_tight_as_the_best_of_200_starts(case):
    sizes = np.array(case["sizes"])
    groups = group_classes(sizes, 3)
    inertia = sum(((sizes[groups == g] - sizes[groups == g].mean()) ** 2).sum() for g in range(3))
    assert inertia == pytest.approx(case["inertia"], rel=1e-9)
    assert groups.tolist() == case["groups"]


def test_groups_of_few_sizes():
    assert group_classes(np.array([5, 5, 5]), 3).tolist() == [0, 0, 0]
    assert group_classes(np.array([9, 5, 9, 0]), 3).tolist() == [2, 1, 2, 0]
    assert group_classes(np.array([1, 2, 10, 11]), 2).tolist() == [0, 0, 1, 1]
    assert group_classes(np.array([1, 2, 10, 11]), 1).tolist() == [0, 0, 0, 0]


def test_what_a_weight_takes_from_a_label_goes_to_the_guess():
    guesses = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    targets = refined(torch.tensor([1.0, 0.4]), torch.tensor([0, 1]), guesses)
    torch.testing.assert_close(targets, torch.tensor([[1.0, 0.0], [0.3, 0.7]]))
    assert soft_losses(torch.zeros(2, 2), targets).tolist() == pytest.approx([np.log(2)] * 2)
    assert folded(Mix(torch.tensor(0.3), torch.tensor([0]))).weight.item() == pytest.approx(0.7)


def test_a_class_is_weighed_by_its_group():
    method = build(NAME)
    method.scales = torch.tensor([0, 1, 2, 2])
    losses = torch.tensor([1.0, 1.0, 1.0, 1.0])
    weights = method.weigh(losses, torch.arange(4)).tolist()
    assert weights[2] == weights[3]
    assert len(set(weights)) == 3


def test_the_average_is_not_trained_and_may_answer():
    method = build(SOFT | {"answer": "average"})
    assert not any(parameter.requires_grad for parameter in method.average.parameters())
    images = torch.randn(3, 1, 4, 4)
    with torch.no_grad(), method.task.eval_mode():
        method.average.head.bias += 1
        torch.testing.assert_close(method.predict(images), method.model(images) + 1)


def test_without_soft_labels_any_loss_and_with_them_only_cross_entropy(store, folder):
    changes = {"method.loss": {"name": "gce", "q": 0.7}, "training.epochs": 2}
    assert train(small_spec(changes | {"method.algorithm": NAME}), store, folder)["result"]["status"] == "finished"
    with pytest.raises(InputError, match="does not use loss 'gce'"):
        train(small_spec(changes | {"method.algorithm": SOFT}), store, folder)


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        (NAME, HOLDOUT),
        (SOFT | {"meta_every": 3, "answer": "average"}, BATCH_NORM),
        (SOFT | {"oracle": True}, SAM),
    ],
    ids=["hold-out", "soft labels, batch norm", "soft labels, clean, sam"],
)
def test_resuming_changes_nothing(algorithm, changes, tmp_path, store, folder):
    resumed_equals_whole(small_spec({"method.algorithm": algorithm} | SHORT | changes), tmp_path, store, folder)


def test_soft_labels_beat_plain_training_where_that_memorises(tmp_path, folder):
    soft = SOFT | {"warm_up": 5, "decay": 0.97}
    plain, result = (memorising(algorithm, tmp_path, folder) for algorithm in ({"name": "erm"}, soft))
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < plain["final"]["memorised"] / 2
