"""CORES phase 2: training steps of the authors' code, what is labelled, its views, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch import nn

from noisybench.methods import cores, cores_consistency
from noisybench.methods.cores_consistency import Consistency, CoresConsistency, ratio_at, unlabelled_at
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "cores_consistency.json").read_text())
SHORT = {"name": "cores2", "sieve_epochs": 2, "begin": 0, "rise": 2, "sieve_after": 0}


def network(weights):
    net = nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, len(weights[-1]))).double()
    with torch.no_grad():
        for weight, value in zip(net.parameters(), weights, strict=True):
            weight.copy_(torch.tensor(value, dtype=torch.float64))
    return net


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"ratio-{case['ratio']:g}")
def test_an_epoch_of_training_is_the_authors(case):
    net = network(case["weights"])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses = []
    for step, (inputs, labels) in enumerate(case["labelled"]):
        weak, strong = case["unlabelled"][step % len(case["unlabelled"])]
        logits = net(torch.tensor([*inputs, *weak, *strong], dtype=torch.float64))
        joint = Consistency.of(logits, torch.tensor(labels), len(weak), case["ratio"])
        loss = joint.losses(logits, None).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), case["clip"])
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(case["losses"], rel=1e-9)
    for weight, expected in zip(net.parameters(), case["end"], strict=True):
        torch.testing.assert_close(weight, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10)
    assert net[1].running_mean.tolist() == pytest.approx(case["running_mean"], rel=1e-9)
    assert net[1].running_var.tolist() == pytest.approx(case["running_var"], rel=1e-9)


def test_parts_of_a_batch_add_up_to_the_whole():
    torch.manual_seed(0)
    logits = torch.randn(11, 4, dtype=torch.float64)
    joint = Consistency.of(logits, torch.tensor([0, 1, 2, 3, 0]), 3, 0.7)
    whole = joint.losses(logits, None)
    assert whole[5:8].tolist() == [0.0] * 3  # weak views only give targets
    rows = torch.tensor([9, 2, 6, 10])
    assert joint.losses(logits[rows], rows).tolist() == pytest.approx(whole[rows].tolist())


def test_without_unlabelled_images_it_is_cross_entropy():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    losses = Consistency.of(logits, labels, 0, 0.5).losses(logits, None)
    assert losses.tolist() == pytest.approx(nn.functional.cross_entropy(logits, labels, reduction="none").tolist())


def test_settings_by_the_removed_share_pass_through_the_authors():
    for rate, batch, unlabelled, ratio in REFERENCE["settings"]:
        assert unlabelled_at(rate, batch) == unlabelled
        assert ratio_at(rate) == pytest.approx(ratio)
    assert (ratio_at(0.0), ratio_at(0.9), unlabelled_at(0.0, 64)) == (0.0, 0.9, 2)


def watched(monkeypatch):
    """The algorithm, its gradient evaluations in each epoch, and what it remembers."""
    seen, whole = [], CoresConsistency.train_epoch

    def watch(self, epoch, loader):
        before = self.task.gradient_evaluations
        mean = whole(self, epoch, loader)
        seen.append((self, self.phase_name, self.task.gradient_evaluations - before, self.fits.clone()))
        return mean

    monkeypatch.setattr(CoresConsistency, "train_epoch", watch)
    return seen


def test_what_the_last_sieve_calls_worse_than_random_loses_its_label(store, folder, monkeypatch):
    metric = torch.tensor(REFERENCE["metric"])
    calls = []

    def theirs(logits, labels):
        calls.append(len(labels))
        return metric.repeat(10)[: len(labels)]

    monkeypatch.setattr(cores, "sieve_metric", theirs)
    seen = watched(monkeypatch)
    changes = {"dataset.train_subset": 120, "training.batch_size": 12, "dataset.validation": 0.1}
    details = train(small_spec({"method.algorithm": SHORT} | changes), store, folder)["result"]["details"]
    assert [phase for _, phase, _, _ in seen] == ["sieve"] * 2 + ["consistency"] * 3
    algorithm, _, _, fits = seen[1]
    (last,) = [list(algorithm.task.loader().epoch(1))]
    kept = len(metric) - len(REFERENCE["unlabelled"])
    for batch in last:
        wrong = (~fits[batch.index]).nonzero().flatten().tolist()
        assert wrong == REFERENCE["unlabelled"]
    labelled = kept * len(last)
    assert details["labelled_share"] == pytest.approx(kept / 12)
    assert details["ratio"] == pytest.approx(ratio_at(1 - kept / 12))
    assert len(calls) == 2 * len(last)  # the second phase sieves nothing
    beside = unlabelled_at(1 - kept / 12, 12)
    assert seen[2][2] == labelled + 2 * beside * -(-labelled // 12)
    assert all(torch.equal(later[3], fits) for later in seen[2:])


@pytest.mark.parametrize("level", [-1.0, 1.0], ids=["nothing removed", "nothing left"])
def test_where_one_set_is_empty_it_is_plain_training_on_all(level, store, folder, monkeypatch):
    monkeypatch.setattr(cores, "sieve_metric", lambda logits, labels: torch.full((len(labels),), level))
    seen = watched(monkeypatch)
    result = train(small_spec({"method.algorithm": SHORT}), store, folder)["result"]
    assert result["status"] == "finished"
    assert [images for _, _, images, _ in seen[2:]] == [300] * 3
    assert result["details"]["labelled_share"] == 1


def test_views_are_of_the_same_images_and_only_the_strong_one_is_changed(store, folder, monkeypatch):
    pairs = []
    step = CoresConsistency._consistent_step

    def watch(self, batch, views, ratio):
        pairs.append((self, batch, *views))
        return step(self, batch, views, ratio)

    monkeypatch.setattr(CoresConsistency, "_consistent_step", watch)
    algorithm = SHORT | {"randaugment": False, "cutout": 2}
    train(small_spec({"method.algorithm": algorithm}), store, folder)
    for method, batch, weak, strong in pairs:
        hole = method.task.images.new_zeros(()).float()  # after normalisation: the mean
        changed = (weak != strong).flatten(1)
        assert weak.shape == strong.shape
        assert (changed.sum(dim=1) <= 4).all()
        assert (strong[weak != strong] == hole).all()
        assert (~method.fits[batch.index]).sum() == 0
    assert any((weak != strong).any() for _, _, weak, strong in pairs)


def test_the_strong_view_adds_what_the_suite_has_not(store, folder, monkeypatch):
    seen = watched(monkeypatch)
    changes = {"training.augment": ["crop", {"cutout": {"size": 3}}], "training.epochs": 1, "method.algorithm": SHORT}
    train(small_spec(changes), store, folder)
    assert [step["name"] for step in cores_consistency.parse_augment(seen[0][0].strong)] == [
        "crop",
        "cutout",
        "randaugment",
    ]
    assert [step["name"] for step in seen[0][0].weak] == ["crop"]


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": SHORT, "training.epochs": 2} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    algorithm = {"name": "cores2", "sieve_epochs": 11, "begin": 3, "rise": 8, "sieve_after": 8}
    result = memorising(algorithm, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 15
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
