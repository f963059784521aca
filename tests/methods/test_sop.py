"""SOP and SOP+: steps of the authors' code, what the noise terms explain, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.methods.sop import (
    SparseOverParameterisation,
    explained,
    inconsistency,
    noise_terms,
    sop_losses,
    with_noise,
)
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "sop.json").read_text())
FAST = {"name": "sop", "lr_u": 20.0, "lr_v": 20.0, "std": 0.01}
PLUS = FAST | {"consistency": 0.9, "balance": 0.1}


@pytest.mark.parametrize(
    "case", REFERENCE["cases"], ids=lambda case: f"{case['lr_u']:g}-{case['lr_v']:g}-{case['balance']:g}"
)
def test_losses_gradients_and_noise_terms_are_the_authors(case):
    every_label = torch.tensor(case["labels"])
    table_u, table_v = (torch.tensor(case[name], dtype=torch.float64) for name in "uv")
    for step in case["steps"]:
        index, labels = torch.tensor(step["index"]), every_label[step["index"]]
        logits = torch.tensor(step["logits"], dtype=torch.float64, requires_grad=True)
        u, v = table_u[index].requires_grad_(), table_v[index].requires_grad_()
        losses = sop_losses(logits[:4], labels, u, v, case["balance"])
        if case["consistency"]:
            losses = losses + case["consistency"] * inconsistency(logits[:4], logits[4:])
        gradients = torch.autograd.grad(losses.mean(), (logits, u, v))
        table_u[index] = (u - case["lr_u"] * gradients[1]).detach()
        table_v[index] = (v - case["lr_v"] * gradients[2]).detach()
        assert losses.mean().item() == pytest.approx(step["loss"], rel=1e-9)
        for mine, key in zip(
            (*gradients, table_u, table_v), ("grad_logits", "grad_u", "grad_v", "u_after", "v_after"), strict=True
        ):
            theirs = torch.tensor(step[key], dtype=torch.float64)
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_a_noise_term_by_hand():
    u, v, labels = torch.tensor([[0.5], [2.0]]), torch.tensor([[0.3, 0.1, 0.0], [0.0, 3.0, 0.7]]), torch.tensor([0, 2])
    added, taken = noise_terms(u, v, labels)
    assert added.tolist() == [[0.25, 0, 0], [0, 0, 1]]  # at the label, at most 1
    assert taken.flatten().tolist() == pytest.approx([0, 0.01, 0, 0, 1, 0], abs=1e-7)  # elsewhere, at most 1
    q = with_noise(torch.zeros(2, 3), added, taken)
    first = [1 / 3 + 0.25, 1 / 3 - 0.01, 1 / 3]
    assert q[0].tolist() == pytest.approx([p / sum(first) for p in first])
    assert q[1].tolist() == pytest.approx([0.2, 1e-4, 0.8], abs=1e-4)  # nothing below 1e-4, so the sum is about 1
    assert q[1, 1] == pytest.approx(1e-4)
    assert explained(labels, u, v).tolist() == [0, 1]


def test_everything_is_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    u, v = torch.full((2, 1), 1e-8, requires_grad=True), torch.full((2, 2), 1e-8, requires_grad=True)
    losses = sop_losses(logits, torch.tensor([0, 0]), u, v, 0.1) + inconsistency(logits.flip(0), logits)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in (logits, u, v))


def test_a_step_moves_the_noise_terms_of_its_batch_once(tmp_path, store, folder, monkeypatch):
    """Also with SAM, whose second pass must not move them again: after one step they are plain SGD's."""
    tables = []
    details = SparseOverParameterisation.details
    monkeypatch.setattr(
        SparseOverParameterisation, "details", lambda self: (tables.append((self.u, self.v)), details(self))[1]
    )
    changes = {"method.algorithm": FAST, "training.epochs": 1, "training.batch_size": 270, "dataset.validation": 0.1}
    for place, optimizer in (("sgd", {}), ("sam", SAM)):
        train(small_spec(changes | optimizer), type(store)(tmp_path / place), folder)
    train(small_spec(changes | {"method.algorithm": FAST | {"lr_u": 0.0, "lr_v": 0.0}}), store, folder)
    sgd, sam, start = tables
    assert torch.equal(sgd[0], sam[0])
    assert torch.equal(sgd[1], sam[1])
    assert start[1].std() == pytest.approx(0.01, rel=0.1)
    assert int((sgd[0] != start[0]).sum()) > 200  # a label that is predicted gives u next to no gradient
    assert int((sgd[1] != start[1]).any(dim=1).sum()) == 270  # not those of the hold-out


def test_the_second_view_costs_a_second_gradient(tmp_path, store, folder):
    counts = [
        train(small_spec({"method.algorithm": a}), type(store)(tmp_path / str(i)), folder)["result"]
        for i, a in enumerate((FAST, PLUS))
    ]
    assert [result["gradient_evaluations"] for result in counts] == [900, 1800]


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [(FAST, {}), (FAST, BATCH_NORM), (PLUS, BATCH_NORM), (PLUS, SAM), (FAST, HOLDOUT)],
    ids=["mlp", "batch norm", "plus, batch norm", "plus, sam", "hold-out"],
)
def test_resuming_changes_nothing(algorithm, changes, tmp_path, store, folder):
    resumed_equals_whole(small_spec({"method.algorithm": algorithm} | changes), tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "sop", "lr_u": 1.0, "lr_v": 100.0, "std": 1e-3}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 10
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
