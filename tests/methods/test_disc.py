"""DISC: five epochs of the authors' code on a linear network, its sets, counting, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench import registry
from noisybench.errors import InputError
from noisybench.methods.disc import Disc, divide, mixed_losses, moved, selected_losses
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "disc.json").read_text())
HYPER, EPOCHS = REFERENCE["hyper"], REFERENCE["epochs"]
LABELS = torch.tensor(REFERENCE["labels"])
GUIDED = {"warm_up": 1, "momentum": 0.5}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def disc(changes=None, **params):
    return small_spec({"method.algorithm": {"name": "disc", **GUIDED, **params}} | (changes or {}))


@pytest.mark.parametrize("number", range(5))
def test_gradients_are_the_authors(number):
    epoch = EPOCHS[number]
    guided = number >= HYPER["warm_up"]
    clean, hard, mixed, mix_labels = (
        torch.tensor(epoch["before"][k]) for k in ("clean", "hard", "mixed", "mix_labels")
    )
    for index, step in zip(epoch["batches"], epoch["steps"], strict=True):
        weight = double(step["weight_before"]).requires_grad_()
        bias = double(step["bias_before"]).requires_grad_()
        weak, strong = double(epoch["weak_images"])[index], double(epoch["strong_images"])[index]
        factors = (clean[index].double(), HYPER["hard"] * hard[index].double())
        if not guided:
            factors = (torch.ones(len(index)), torch.zeros(len(index)))
        logits = [x @ weight.T + bias for x in (weak, strong)]
        loss = selected_losses(*logits, LABELS[index], *factors).mean()
        chosen = mixed[index].nonzero()[:, 0]
        if guided and len(chosen):
            draws = iter(step["mix"])
            for images in (weak, strong):
                lam, partner = double(next(draws)[1]), torch.tensor(next(draws)[1])
                x, y = images[chosen], mix_labels[index][chosen]
                z = torch.lerp(x[partner], x, lam) @ weight.T + bias
                loss = loss + mixed_losses(z, y, y[partner], lam).mean()
        gradients = torch.autograd.grad(loss, (weight, bias))
        for mine, theirs in zip(gradients, (step["grad_weight"], step["grad_bias"]), strict=True):
            torch.testing.assert_close(mine, double(theirs), rtol=1e-9, atol=1e-12)


def test_sets_labels_and_thresholds_are_the_authors():
    thresholds = torch.full((2, len(LABELS)), 1 / len(LABELS), dtype=torch.float64)
    before = LABELS
    seen = dict.fromkeys(("clean", "hard", "corrected"), 0)
    for epoch in EPOCHS:
        weak, strong = double(epoch["weak_probs"]), double(epoch["strong_probs"])
        sets = divide(weak, strong, thresholds, LABELS, HYPER["sigma"], before)
        for name in seen:
            assert getattr(sets, name).tolist() == epoch["after"][name]
            seen[name] += sum(epoch["after"][name])
        assert sets.mixed.tolist() == epoch["after"]["mixed"]
        assert sets.labels.tolist() == epoch["after"]["mix_labels"]
        thresholds, before = moved(thresholds, weak, strong, HYPER["momentum"]), sets.labels
        torch.testing.assert_close(thresholds, double(epoch["thresholds"]), rtol=1e-9, atol=0)
    assert min(seen.values()) > 0  # each set was put to the test


def test_a_label_is_corrected_only_above_the_mean_threshold_and_sigma_and_never_below_the_ceiling():
    weak = strong = torch.tensor([[0.3, 0.7], [0.05, 0.95], [0.005, 0.995], [0.8, 0.2]])
    labels, thresholds = torch.zeros(4, dtype=torch.int64), torch.tensor([[0.4, 0.4, 0.8, 0.4]] * 2)
    sets = divide(weak, strong, thresholds, labels, 0.5, torch.ones(4, dtype=torch.int64))
    assert sets.clean.tolist() == [False, False, False, True]
    assert sets.corrected.tolist() == [False, True, True, False]  # 0.95 > 0.9; 0.995 > 0.99, not 1.3
    assert sets.labels.tolist() == [1, 1, 1, 0]
    assert not sets.hard.any()


def test_hard_is_what_one_view_alone_trusts():
    weak, strong = torch.tensor([[0.9, 0.1], [0.1, 0.9]]), torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    labels = torch.zeros(2, dtype=torch.int64)
    sets = divide(weak, strong, torch.full((2, 2), 0.5), labels, 0.5, labels)
    assert sets.hard.all()
    assert sets.mixed.all()
    assert not (sets.clean | sets.corrected).any()


def test_gradients_count_both_views_and_what_is_mixed(store, folder, monkeypatch):
    mixed = []
    plan = Disc._plan
    monkeypatch.setattr(Disc, "_plan", lambda self, *given: (mixed.append(len((p := plan(self, *given)).chosen)), p)[1])
    result = train(disc(), store, folder)["result"]
    assert all(number >= 2 for number in mixed)
    assert result["gradient_evaluations"] == 3 * 2 * 300 + 2 * sum(mixed)


@pytest.mark.parametrize("share", [0, 1, 300])
def test_it_survives_sets_that_are_empty_or_whole(share, store, folder, monkeypatch):
    def end(self):
        self.clean = torch.arange(300) < share
        self.hard, self.corrected = torch.zeros(2, 300, dtype=torch.bool)

    monkeypatch.setattr(Disc, "_end_epoch", end)
    result = train(disc(BATCH_NORM), store, folder)["result"]
    assert result["status"] == "finished"
    assert result["details"]["clean_share"] == pytest.approx(share / 300)
    assert result["gradient_evaluations"] == 3 * 2 * 300 + (2 * 2 * 300 if share == 300 else 0)


def test_the_strong_view_has_the_suites_steps_and_more(store, folder, monkeypatch):
    seen = []
    details = Disc.details
    monkeypatch.setattr(Disc, "details", lambda self: (seen.append(self.augment), details(self))[1])
    changes = {"training.augment": ["flip", {"cutout": {"size": 3}}], "training.epochs": 1}
    train(disc(changes), store, folder)
    train(disc(changes, strong=["crop"]), store, folder)
    assert [step["name"] for step in seen[0]] == ["flip", "randaugment", "cutout"]
    assert seen[0][1:] == [
        {"name": "randaugment", "operations": 2, "levels": 5},
        {"name": "cutout", "size": 1},
    ]
    assert [step["name"] for step in seen[1]] == ["flip", "cutout", "crop"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"method.mixup": {"alpha": 1.0}}, "method.mixup"), ({"method.loss": {"name": "mae"}}, "a loss of its own")],
)
def test_what_it_would_not_use_is_refused(changes, message, store, folder):
    with pytest.raises(InputError, match=message):
        train(disc(changes), store, folder)


def test_steps_that_do_not_exist_are_refused():
    component = registry.get("algorithm", "disc")
    assert component.validate({"strong": ["flip"]})["strong"] == [{"name": "flip"}]
    with pytest.raises(InputError, match="no augmentation 'blur'"):
        component.validate({"strong": ["blur"]})


@pytest.mark.parametrize(
    "changes",
    [{}, BATCH_NORM, SAM, HOLDOUT, SAM | {"training.optimizer.m": 16}],
    ids=["mlp", "batch norm", "sam", "hold-out", "micro-batches"],
)
def test_resuming_in_either_phase_changes_nothing(changes, tmp_path, store, folder):
    resumed_equals_whole(disc(changes), tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    settings = {"name": "disc", "warm_up": 5, "momentum": 0.9}
    plain, result = (memorising(algorithm, tmp_path, folder) for algorithm in ({"name": "erm"}, settings))
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
