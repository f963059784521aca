"""Decoupling: the authors' losses, what is learnt where, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import cross_entropy

from noisybench.methods import decoupling
from noisybench.methods.decoupling import disagreeing, update_weights
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "decoupling.json").read_text())


@pytest.mark.parametrize(
    "case", REFERENCE["cases"], ids=lambda case: f"{sum(case['update_step']):g}-of-{len(case['labels'])}"
)
def test_losses_gradients_and_choice_are_the_authors(case):
    labels = torch.tensor(case["labels"])
    logits = [torch.tensor(z, dtype=torch.float64, requires_grad=True) for z in case["logits"]]
    chosen = disagreeing(*logits) | (case["global_step"] < case["init_iter"])
    assert chosen.double().tolist() == case["update_step"]
    weights = update_weights(chosen, REFERENCE["min_batch_size"], torch.float64)
    for z, loss, gradient in zip(logits, case["loss"], case["grad_logits"], strict=True):
        mine = (weights * cross_entropy(z, labels, reduction="none")).mean()
        assert mine.item() == pytest.approx(loss, rel=1e-9)
        theirs = torch.tensor(gradient, dtype=torch.float64)
        torch.testing.assert_close(torch.autograd.grad(mine, z)[0], theirs, rtol=1e-9, atol=1e-12)


def test_few_disagreements_move_little():
    chosen = torch.zeros(40, dtype=torch.bool)
    assert update_weights(chosen, 0.1).sum() == 0
    chosen[0] = True
    assert update_weights(chosen, 0.1)[:2].tolist() == [10, 0]  # a quarter of 40 / 1
    assert update_weights(chosen, 0.0)[:2].tolist() == [40, 0]
    chosen[:8] = True
    assert update_weights(chosen, 0.1)[:9].tolist() == [5] * 8 + [0]
    assert update_weights(torch.zeros(40, dtype=torch.bool), 0.0).isfinite().all()


def test_without_disagreement_nothing_is_learnt_but_in_the_first_epochs(store, folder, monkeypatch):
    monkeypatch.setattr(decoupling, "disagreeing", lambda one, two: torch.zeros(len(one), dtype=torch.bool))
    rows = []
    plain = {"training.optimizer.weight_decay": 0.0, "training.optimizer.momentum": 0.0, "training.epochs": 4}
    spec = small_spec({"method.algorithm": {"name": "decoupling", "init_epochs": 2}} | plain)
    result = train(spec, store, folder, observe=rows.append)["result"]
    losses = [row["test_loss"] for row in rows if row["type"] == "epoch"]
    assert losses[0] > losses[1] == losses[2] == losses[3]
    assert result["details"] == {"disagreement": 0.0}


def test_networks_come_to_agree(store, folder):
    changes = {"method.algorithm": {"name": "decoupling"}, "noise.rate": 0.0, "training.epochs": 15}
    result = train(small_spec(changes), store, folder)["result"]
    assert 0 < result["details"]["disagreement"] < 0.1
    assert result["test_accuracy"]["last"] > 80
    assert result["gradient_evaluations"] == 2 * 15 * 300


def test_the_ensemble_answers_for_both_and_trains_alike(tmp_path, store, folder):
    curves = []
    for number, ensemble in enumerate((False, True)):
        rows = []
        spec = small_spec({"method.algorithm": {"name": "decoupling", "ensemble": ensemble}})
        train(spec, type(store)(tmp_path / str(number)), folder, observe=rows.append)
        curves.append([(row["train_loss"], row["test_loss"]) for row in rows if row["type"] == "epoch"])
    assert [loss for loss, _ in curves[0]] == [loss for loss, _ in curves[1]]
    assert all(one != two for (_, one), (_, two) in zip(*curves, strict=True))


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "decoupling", "init_epochs": 1}} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "decoupling", "init_epochs": 1}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 3
    assert result["final"]["memorised"] < plain["final"]["memorised"] / 2
    assert 0 < result["details"]["disagreement"] < 0.3
