"""MD-DYR-SH: the authors' loss, weights and temperatures, the stages, and runs on digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench.errors import ParameterError
from noisybench.methods.dynamic_bootstrap import mixed_bootstrapped, uniform_divergence
from noisybench.methods.md_dyr_sh import share_of_first, temperature_at
from noisybench.train.trainer import train

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((FOLDER / "arazo_bmm.json").read_text())
TEMPERATURES = json.loads((FOLDER / "schedules_by_hand.json").read_text())["arazo_md_dyr_sh_temperature"]
INPUTS = REFERENCE["inputs"]


def given(key):
    return torch.tensor(INPUTS[key], dtype=torch.float64)


def spec_of(changes=None, **params):
    method = {"name": "md_dyr_sh", **params}
    return small_spec({"method.algorithm": method, "training.epochs": 4, **(changes or {})})


@pytest.mark.parametrize("case", REFERENCE["md_dyr_sh"], ids=lambda case: str(case["temperature"]))
def test_the_loss_and_its_gradient_are_the_authors(case):
    logits = given("mixed_logits").requires_grad_()
    guesses = (given("unmixed_logits") / case["temperature"]).softmax(dim=1)
    labels, partner = torch.tensor(INPUTS["labels"]), torch.tensor(INPUTS["permutation"])
    loss = mixed_bootstrapped(logits, labels, guesses, given("B"), partner, 0.5).mean()
    reg = uniform_divergence(logits)
    (gradient,) = torch.autograd.grad(loss + reg, logits)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    assert reg.item() == pytest.approx(case["reg"], rel=1e-9)
    expected = torch.tensor(case["grad_of_loss_plus_reg"], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_weights_of_dynamic_mixup_are_the_authors_and_add_up():
    partner = torch.tensor(INPUTS["permutation"])
    share = share_of_first(given("B"), partner)
    expected = torch.tensor(REFERENCE["dynamic_mixup_weight_on_first"], dtype=torch.float64)
    torch.testing.assert_close(share, expected, rtol=1e-9, atol=0)
    pair = share_of_first(torch.tensor([0.9, 0.1]), torch.tensor([1, 0]))
    assert pair.tolist() == pytest.approx([0.1, 0.9])


def test_temperatures_are_the_authors():
    expected = TEMPERATURES["temperatures"]
    got = [temperature_at(epoch, 89) for epoch in range(len(expected) + 3)]
    assert got[: len(expected)] == pytest.approx(expected, rel=1e-9)
    assert got[len(expected) :] == pytest.approx([0.001] * 3)
    assert [temperature_at(epoch, 1) for epoch in range(3)] == pytest.approx([1.0, 0.001, 0.001])


def test_stages_follow_each_other(store, folder, monkeypatch):
    from noisybench.methods.md_dyr_sh import DynamicMixupSoftToHard as Method

    seen = []

    def spied(name, original):
        def spy(self, *args):
            seen.append((self.epoch, name))
            return original(self, *args)

        return spy

    for name in ("mixup_step", "bootstrapping_step", "unmixed_logits", "wrong"):
        monkeypatch.setattr(Method, name, spied(name, getattr(Method, name)))
    train(spec_of({"training.epochs": 6}, warmup=2, bootstrap=4), store, folder)
    stages = {epoch: {name for e, name in seen if e == epoch} for epoch in range(6)}
    assert stages[0] == stages[1] == {"mixup_step"}
    assert stages[2] == stages[3] == {"mixup_step", "wrong"}
    assert stages[4] == stages[5] == {"bootstrapping_step", "unmixed_logits", "wrong"}


def test_a_run_stopped_in_any_stage_ends_the_same(tmp_path, store, folder):
    spec = spec_of({"dataset.validation": 0.1, "model": {"name": "small_cnn"}}, warmup=1, bootstrap=2, cooling=2)
    whole = train(spec, store, folder)
    for epochs in range(1, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


def test_stages_that_do_not_fit_are_refused(store, folder):
    with pytest.raises(ParameterError, match="bootstrap"):
        train(spec_of({}, warmup=2, bootstrap=1), store, folder)
    with pytest.raises(ParameterError, match="bootstrap"):
        train(spec_of({}, warmup=1, bootstrap=4), store, folder)


def test_it_beats_plain_training_under_noise(store, folder):
    changes = {"training.epochs": 30, "dataset.train_subset": 1000, "dataset.test_subset": None, "model.width": 256}
    plain = train(small_spec(changes), store, folder)["result"]
    guided = train(spec_of(changes), store, folder)["result"]
    assert guided["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 10
    assert guided["final"]["memorised"] < plain["final"]["memorised"] / 3
    assert 0.1 < guided["details"]["estimated_noise_rate"] < 0.7
