"""L_DMI: the determinant by hand and by the peer, singular batches, both phases, resuming, learning."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec

from noisybench.methods.dmi import DeterminantMutualInformation, determinant_loss
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses_apl.json").read_text())


def test_a_batch_without_a_class_is_the_peers():
    (case,) = [case for case in REFERENCE["cases"] if case["loss"] == "DMI"]
    batch = REFERENCE["batches"][case["batch"]]
    logits = torch.tensor(batch["logits"], requires_grad=True)
    loss = determinant_loss(logits, torch.tensor(batch["labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(case["float32"]["mean_loss"], rel=1e-6)
    assert logits.grad.tolist() == case["float32"]["grad_logits"]


@pytest.fixture
def batch():
    logits = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return logits.requires_grad_(), torch.arange(40) % 4


def test_values_and_gradients_are_those_of_the_determinant(batch):
    logits, labels = batch
    p = torch.softmax(logits.detach(), dim=1).numpy()
    joint = np.array([[p[labels.numpy() == i, j].sum() for j in range(4)] for i in range(4)])
    loss = determinant_loss(logits, labels)
    assert loss.item() == pytest.approx(-math.log(abs(np.linalg.det(joint)) + 1e-3), rel=1e-9)
    assert torch.autograd.gradcheck(lambda z: determinant_loss(z, labels), logits)


def test_it_does_not_know_which_class_is_which(batch):
    logits, labels = batch
    swapped = logits[:, [1, 0, 3, 2]]
    assert determinant_loss(swapped, labels).item() == pytest.approx(determinant_loss(logits, labels).item(), rel=1e-9)


def test_right_predictions_have_the_lowest_loss(batch):
    _, labels = batch
    right = 20.0 * torch.eye(4, dtype=torch.float64)[labels]
    assert determinant_loss(right, labels).item() == pytest.approx(-math.log(10.0**4 + 1e-3), rel=1e-6)


def test_noise_adds_a_constant():
    """det(T^T joint) = det(T) det(joint): the theorem behind the loss, on labels whose noise is exactly T."""
    p = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses = []
    for prediction in p:
        logits = prediction.log().repeat_interleave(1000, dim=0)  # 1,000 images of each of three classes
        clean = torch.arange(3).repeat_interleave(1000)
        noisy = clean.clone()
        for c in range(3):
            noisy[c * 1000 : c * 1000 + 300] = (c + 1) % 3  # 30 % pair flip; every image of a class looks the same
        losses.append((determinant_loss(logits, noisy) - determinant_loss(logits, clean)).item())
    t = np.array([[0.7, 0.3, 0.0], [0.0, 0.7, 0.3], [0.3, 0.0, 0.7]])
    assert losses == pytest.approx([-math.log(np.linalg.det(t))] * 4, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_gradients_are_finite_near_singular_matrices(scale):
    logits = torch.zeros(64, 10)
    logits[:, 0] = scale  # every prediction the same: rank 1
    logits += 1e-6 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    loss = determinant_loss(logits, torch.arange(64) % 10)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-3), rel=1e-3)
    assert logits.grad.isfinite().all()


def test_pretraining_then_the_determinant_at_its_own_rate(store, folder):
    rows = []
    algorithm = {"name": "dmi", "epochs": 2, "factor": 0.01}
    result = train(small_spec({"method.algorithm": algorithm}), store, folder, observe=rows.append)["result"]
    epochs = [row for row in rows if row["type"] == "epoch"]
    assert [row["phase"] for row in epochs] == ["pretrain"] * 3 + ["dmi"] * 2
    assert [row["learning_rate"] for row in epochs[3:]] == pytest.approx([0.001, 0.001])
    assert result["gradient_evaluations"] == 5 * 300


def test_the_second_phase_starts_from_the_best_epoch_on_the_hold_out(store, folder, monkeypatch):
    states, accuracies, started = [], [], []
    whole, begin = DeterminantMutualInformation.train_epoch, DeterminantMutualInformation.begin_phase

    def watched(self, epoch, loader):
        mean = whole(self, epoch, loader)
        if not self.determinants:
            task = self.task
            predicted = task.evaluate(lambda x: task.forward(self.model, x), task.images[task.holdout]).argmax(dim=1)
            accuracies.append(float((predicted == task.labels[task.holdout]).double().mean()))
            states.append({key: value.clone() for key, value in self.model.state_dict().items()})
        return mean

    def watched_begin(self, number, phase):
        begin(self, number, phase)
        if phase.name == "dmi":
            started.append({key: value.clone() for key, value in self.model.state_dict().items()})

    monkeypatch.setattr(DeterminantMutualInformation, "train_epoch", watched)
    monkeypatch.setattr(DeterminantMutualInformation, "begin_phase", watched_begin)
    changes = {"dataset.validation": 0.2, "training.epochs": 12, "model.width": 256, "training.optimizer.lr": 0.3}
    train(small_spec({"method.algorithm": {"name": "dmi", "epochs": 1}} | changes), store, folder)
    best = max(range(12), key=lambda e: (accuracies[e], e))
    assert all(torch.equal(started[0][key], states[best][key]) for key in started[0])


@pytest.mark.parametrize("changes", [{}, BATCH_NORM, SAM, HOLDOUT], ids=["mlp", "batch norm", "sam", "hold-out"])
def test_resuming_in_either_phase_changes_nothing(changes, tmp_path, store, folder):
    algorithm = {"name": "dmi", "epochs": 2, "factor": 0.01}
    spec = small_spec({"method.algorithm": algorithm, "training.epochs": 2} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    changes = {"training__batch_size": 128, "dataset__validation": 0.15}
    plain = memorising({"name": "erm"}, tmp_path, folder, **changes)
    result = memorising({"name": "dmi", "epochs": 10, "factor": 0.01}, tmp_path, folder, **changes)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 3
    assert result["final"]["memorised"] < 10
