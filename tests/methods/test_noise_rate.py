"""Noise rates from noisy data: the two formulas, and the phase that measures what they need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench import registry
from noisybench.methods.noise_rate import (
    Estimate,
    EstimateEpochs,
    Rate,
    RateSeeker,
    fit_two_gaussians,
    rate_from_agreement,
    rate_from_losses,
)
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "schedules_by_hand.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["incv_noise_ratio_from_agreement"], ids=str)
def test_agreement_gives_the_rate_of_the_published_formula(case):
    rate = rate_from_agreement(case["agreement_fraction"], case["num_classes"])
    assert rate == pytest.approx(case["eval_ratio"], abs=1e-9)


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_agreement_is_turned_back_into_the_rate_it_came_from(num_classes):
    for rate in (0.1, 0.25, 0.4):
        agreement = (1 - rate) ** 2 + rate**2 / (num_classes - 1)
        assert rate_from_agreement(agreement, num_classes) == pytest.approx(rate, abs=1.1e-3)


def test_agreement_at_and_below_chance_is_no_information_and_full_agreement_almost_no_noise():
    assert rate_from_agreement(0.05, 10) == 0.9
    assert rate_from_agreement(0.0, 4) == 0.75
    assert rate_from_agreement(1.0, 10) == 0.001


def test_a_mixture_of_two_normals_is_found():
    rng = np.random.Generator(np.random.PCG64(0))
    values = np.concatenate([rng.normal(0.2, 0.05, 7000), rng.normal(0.7, 0.08, 3000)])
    mixture = fit_two_gaussians(values, smallest_variance=1e-6)
    assert mixture.weights == pytest.approx([0.7, 0.3], abs=0.01)
    assert mixture.means == pytest.approx([0.2, 0.7], abs=0.01)
    assert np.sqrt(mixture.variances) == pytest.approx([0.05, 0.08], abs=0.005)
    posterior = mixture.posterior(values)
    assert (posterior > 0.5)[7000:].mean() > 0.99
    assert posterior.mean() == pytest.approx(0.3, abs=0.01)


def test_losses_give_the_share_of_the_large_ones_whatever_their_scale():
    rng = np.random.Generator(np.random.PCG64(1))
    losses = np.concatenate([rng.gamma(2.0, 0.1, 600), 4 + rng.gamma(2.0, 0.3, 400)])
    assert rate_from_losses(losses) == pytest.approx(0.4, abs=0.01)
    assert rate_from_losses(10 * losses + 3) == pytest.approx(rate_from_losses(losses), abs=1e-9)
    assert rate_from_losses(torch.from_numpy(losses)) == rate_from_losses(losses)
    assert rate_from_losses(np.full(9, 2.0)) == 0.0


class Sought(RateSeeker):
    """Plain training that wants to know the rate."""

    def __init__(
        self,
        task,
        *,
        forget_rate: Rate | None = None,
        oracle: bool = False,
        estimate: Estimate = "agreement",
        estimate_epochs: EstimateEpochs = 2,
    ):
        super().__init__(task, rate=forget_rate, oracle=oracle, estimate=estimate, estimate_epochs=estimate_epochs)
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)

    def step(self, batch):
        assert self.rate is not None
        self.optimizer.zero_grad()
        loss = self.task.loss(self.task.forward(self.model, batch.images), batch.labels).mean()
        loss.backward()
        self.task.count_gradients(len(batch.labels))
        self.optimizer.step()
        return loss.detach()


@pytest.fixture(autouse=True)
def _sought():
    registry.algorithm("sought")(Sought)
    yield
    registry._components.pop(("algorithm", "sought"))


def run(changes, algorithm, store, folder):
    return train(small_spec({**changes, "method.algorithm": {"name": "sought", **algorithm}}), store, folder)["result"]


def test_a_stated_rate_is_taken_and_the_true_one_only_under_oracle(store, folder):
    stated = run({}, {"forget_rate": 0.3}, store, folder)
    assert stated["details"] == {"noise_rate": 0.3}
    assert stated["epochs"] == 3
    assert run({}, {"oracle": True}, store, folder)["details"] == {"noise_rate": 0.4}
    both = run({}, {"oracle": True, "forget_rate": 0.3}, store, folder)
    assert both["details"] == {"noise_rate": 0.3}


@pytest.mark.parametrize(("estimate", "epochs"), [("agreement", 60), ("mixture", 20)])
def test_the_estimate_follows_the_noise(estimate, epochs, store, folder):
    changes = {"training.epochs": 1, "model.width": 256, "dataset.train_subset": 900}
    rates = []
    for rate in (0.0, 0.3, 0.6):
        options = {"estimate": estimate, "estimate_epochs": epochs}
        result = run({**changes, "noise.rate": rate}, options, store, folder)
        assert result["details"]["estimated_noise_rate"] == result["details"]["noise_rate"]
        assert result["epochs"] == epochs + 1
        assert result["gradient_evaluations"] == (epochs + 1) * 900
        rates.append(result["details"]["noise_rate"])
    assert rates == pytest.approx([0.0, 0.3, 0.6], abs=0.12)


@pytest.mark.parametrize("estimate", ["agreement", "mixture"])
def test_a_run_stopped_while_the_rate_is_sought_goes_on_to_the_same_record(estimate, tmp_path, store, folder):
    changes = {"method.algorithm": {"name": "sought", "estimate": estimate}, "training.epochs": 2}
    spec = small_spec({**changes, "dataset.validation": 0.1})
    whole = train(spec, store, folder)
    for epochs in range(1, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]
