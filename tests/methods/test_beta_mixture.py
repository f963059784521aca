"""The beta mixture against the authors' numbers, and what a loss model must give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from noisybench.methods.beta_mixture import (
    BetaMixture,
    LossModel,
    fit_beta_mixture,
    look_up,
    loss_range,
    normalise_losses,
    posterior_table,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "arazo_bmm.json").read_text())


def given(key):
    return torch.tensor(REFERENCE[key], dtype=torch.float64)


def exactly(actual, expected, rtol=1e-9):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=1e-15)


def test_the_range_of_losses_is_that_of_the_authors():
    losses = given("losses")
    low, high = loss_range(losses)
    assert low == pytest.approx(REFERENCE["p5"], abs=1e-12)
    assert high == pytest.approx(REFERENCE["p95"], abs=1e-12)
    inner = losses[(losses >= low) & (losses <= high)]
    # theirs is subtracted in float32
    exactly(normalise_losses(inner, low, high), REFERENCE["normalised_for_fit"], rtol=5e-5)
    assert normalise_losses(inner, low, high).min() < 1e-3  # between 0 and 1e-3 nothing is clamped


def test_percentiles_are_those_of_numpy():
    values = torch.rand(37, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert loss_range(values) == pytest.approx(np.percentile(values.numpy(), [5, 95]).tolist(), abs=1e-15)
    assert loss_range(values[:1]) == pytest.approx([float(values[0])] * 2)


@pytest.mark.parametrize("case", REFERENCE["fit_after_each_iteration"], ids=lambda case: str(case["iters"]))
def test_every_round_of_the_fit_is_the_authors(case):
    mixture = fit_beta_mixture(given("normalised_for_fit"), rounds=case["iters"])
    exactly(mixture.alphas, case["alphas"])
    exactly(mixture.betas, case["betas"])
    exactly(mixture.weights, case["weights"])


def test_posterior_table_and_look_up_are_the_authors():
    mixture = fit_beta_mixture(given("normalised_for_fit"))
    points = REFERENCE["posterior_component1"]
    exactly(mixture.posterior(torch.tensor(points["x"], dtype=torch.float64)), points["p"])
    table = posterior_table(mixture)
    exactly(table, REFERENCE["lookup"])
    normalised = normalise_losses(given("losses"), *loss_range(given("losses")))
    exactly(look_up(table, normalised), REFERENCE["B_for_all_losses"])


def test_the_table_does_not_fall_after_its_maximum():
    mixture = BetaMixture(*(torch.tensor(pair, dtype=torch.float64) for pair in ([1.0, 8.0], [2.0, 8.0], [0.5, 0.5])))
    x = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    assert mixture.posterior(x)[-1] < mixture.posterior(x).max() - 0.1
    table = posterior_table(mixture)
    assert (table.diff()[int(table.argmax()) :] == 0).all()


def test_a_density_integrates_to_its_weight():
    mixture = BetaMixture(*(torch.tensor(pair, dtype=torch.float64) for pair in ([2.0, 5.0], [3.0, 1.5], [0.3, 0.7])))
    x = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    torch.testing.assert_close(mixture.joint(x).mean(dim=0), mixture.weights, rtol=1e-6, atol=0)


def two_humps(wrong_share, count=4000):
    """Losses and which of them belong to wrong labels."""
    generator = np.random.default_rng(0)
    wrong = generator.random(count) < wrong_share
    losses = np.where(wrong, generator.normal(4.0, 0.6, count), generator.gamma(1.5, 0.25, count))
    return torch.from_numpy(losses).clamp(min=0).float(), torch.from_numpy(wrong)


@pytest.mark.parametrize("wrong_share", [0.2, 0.4, 0.6])
def test_wrong_labels_are_told_by_their_losses_and_counted(wrong_share):
    losses, wrong = two_humps(wrong_share)
    model = LossModel.fit(losses)
    b = model.wrong(losses)
    assert ((b > 0.5) == wrong).float().mean() > 0.97
    assert float(model.wrong_share) == pytest.approx(wrong_share, abs=0.12)
    assert b.dtype == torch.float32
    assert b.min() >= 1e-4
    assert b.max() <= 1 - 1e-4


def test_outliers_take_no_part_and_get_the_last_entry():
    losses, _ = two_humps(0.4)
    far = losses.clone()
    far[losses.argmax()] = 1e4
    one, two = LossModel.fit(losses), LossModel.fit(far)
    assert torch.equal(one.table, two.table)
    assert float(two.wrong(torch.tensor([1e6]))) == float(two.wrong(torch.tensor([5.0])))


@pytest.mark.parametrize("losses", [torch.zeros(50), torch.full((50,), 2.3), torch.rand(1), torch.rand(2)])
def test_losses_that_say_nothing_leave_finite_probabilities(losses):
    b = LossModel.fit(losses).wrong(losses)
    assert b.isfinite().all()
    if float(losses.max() - losses.min()) == 0:
        assert (b == 0.5).all()
