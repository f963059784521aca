"""PES: confirmed samples and weighted losses of the authors' code, what each phase trains, resuming, learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resumed_runs import BATCH_NORM, HOLDOUT, SAM, memorising, resumed_equals_whole
from small_runs import small_spec
from torch.nn.functional import cross_entropy

from noisybench.errors import InputError
from noisybench.methods import pes
from noisybench.methods.pes import ProgressiveEarlyStopping, balanced, class_weights, confirmed, scaled_rate
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "pes.json").read_text())
SHORT = {"name": "pes", "early_epochs": 1, "stage_epochs": 1, "head_epochs": 1}
CNN = {"model": {"name": "small_cnn", "width": 4}, "method.algorithm": SHORT}


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=["four classes", "one absent"])
def test_what_is_confirmed_and_its_loss_are_the_authors(case):
    labels = torch.tensor(case["labels"])
    mean = torch.stack([torch.tensor(view, dtype=torch.float64).softmax(dim=1) for view in case["views"]]).mean(dim=0)
    torch.testing.assert_close(mean, torch.tensor(case["mean_softmax"], dtype=torch.float64), rtol=1e-9, atol=0)
    kept = confirmed(mean, labels)
    assert kept.nonzero().flatten().tolist() == case["confident"]
    weights = class_weights(labels[kept], case["num_classes"])
    assert weights.tolist() == pytest.approx(case["class_weights"], rel=1e-9)
    batch = case["batch"]
    logits, y = torch.tensor(batch["logits"], dtype=torch.float64, requires_grad=True), labels[batch["rows"]]
    loss = (balanced(weights, y) * cross_entropy(logits, y, reduction="none")).mean()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(batch["loss"], rel=1e-9)
    theirs = torch.tensor(batch["grad_logits"], dtype=torch.float64)
    torch.testing.assert_close(gradient, theirs, rtol=1e-9, atol=1e-12)


def test_the_refining_rate_goes_as_far_as_the_authors_in_fewer_steps():
    assert scaled_rate(351) == pytest.approx(1e-4)
    assert scaled_rate(35) * 35 == pytest.approx(351 * 1e-4)
    assert scaled_rate(1) == 0.01


def watched(monkeypatch):
    """Phase and weights after each epoch, and the number of images trained on."""
    seen, whole = [], ProgressiveEarlyStopping.train_epoch

    def watch(self, epoch, loader):
        before = self.task.gradient_evaluations
        mean = whole(self, epoch, loader)
        weights = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        seen.append((self.phase_name, weights, self.task.gradient_evaluations - before))
        return mean

    monkeypatch.setattr(ProgressiveEarlyStopping, "train_epoch", watch)
    return seen


def changed(before, after):
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


LATTER = {"features.4.0.weight", "features.4.1.weight", "features.4.1.bias"}
HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize("optimizer", [{}, SAM], ids=["sgd", "sam"])
@pytest.mark.parametrize("refined", ["trained", "fixed"])
def test_each_phase_trains_its_own_layers(refined, optimizer, store, folder, monkeypatch):
    seen = watched(monkeypatch)
    train(small_spec(CNN | optimizer | {"method.algorithm": SHORT | {"refined": refined}}), store, folder)
    assert [phase for phase, _, _ in seen] == ["early", "stage", "head", "confident", "confident"]
    weights = [weights for _, weights, _ in seen]
    everything = set(weights[0])
    assert changed(weights[0], weights[1]) == LATTER | HEAD
    assert changed(weights[1], weights[2]) == HEAD
    expected = everything if refined == "trained" else everything - LATTER - HEAD
    assert changed(weights[2], weights[3]) == changed(weights[3], weights[4]) == expected


def test_renewed_layers_start_like_those_of_a_new_network(store, folder, monkeypatch):
    seen = watched(monkeypatch)
    algorithm = SHORT | {"refine_rate": 1e-12}
    train(small_spec(CNN | {"method.algorithm": algorithm}), store, folder)
    after_stage, after_head = (dict(weights) for _, weights, _ in seen[1:3])
    assert after_stage["features.4.1.weight"].tolist() == pytest.approx([1.0] * 8)  # a fresh batch norm
    assert not torch.allclose(after_stage["head.weight"], after_head["head.weight"], atol=0.01)  # anew each time
    bound = 8**-0.5
    assert (after_head["head.weight"].abs() <= bound + 1e-6).all()


def test_the_last_phase_learns_from_what_is_confirmed(store, folder, monkeypatch):
    seen = watched(monkeypatch)
    changes = {"training.epochs": 6, "method.algorithm": SHORT | {"early_epochs": 3}}
    details = train(small_spec(changes), store, folder)["result"]["details"]
    assert [phase for phase, _, _ in seen] == ["early"] * 3 + ["head"] + ["confident"] * 3  # nothing before the stage
    images = [images for _, _, images in seen]
    assert images[:4] == [300] * 4
    assert all(20 < count < 290 for count in images[4:])
    assert details["confirmed_share"] == pytest.approx(images[-1] / 300)
    assert details["estimated_noise_rate"] == pytest.approx(1 - images[-1] / 300)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_or_everything_confirmed_trains_on_all(share, store, folder, monkeypatch):
    monkeypatch.setattr(pes, "confirmed", lambda p, labels: torch.full_like(labels, share, dtype=torch.bool))
    seen = watched(monkeypatch)
    assert train(small_spec({"method.algorithm": SHORT}), store, folder)["result"]["status"] == "finished"
    assert [images for _, _, images in seen] == [300] * 4


def test_a_network_of_one_layer_is_refused(store, folder):
    with pytest.raises(InputError, match="hidden layer"):
        train(small_spec({"method.algorithm": SHORT, "model": {"name": "mlp", "depth": 0}}), store, folder)


@pytest.mark.parametrize(
    "changes",
    [{"training.drop_last": True}, BATCH_NORM, SAM | {"model.depth": 2}, HOLDOUT],
    ids=["mlp", "batch norm", "sam", "hold-out"],
)
def test_resuming_changes_nothing(changes, tmp_path, store, folder):
    algorithm = SHORT | {"head_epochs": 2, "refined": "fixed" if "training.drop_last" in changes else "trained"}
    resumed_equals_whole(small_spec({"method.algorithm": algorithm} | changes), tmp_path, store, folder)


def test_it_beats_plain_training_where_that_memorises(tmp_path, folder):
    plain = memorising({"name": "erm"}, tmp_path, folder)
    result = memorising({"name": "pes"}, tmp_path, folder)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert result["final"]["memorised"] < 15
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
