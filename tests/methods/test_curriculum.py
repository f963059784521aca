"""Thresholds, curricula and example dropout against the authors' numbers; weight decay that follows the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from noisybench.methods import curriculum
from noisybench.methods.curriculum import DecayedClosure

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "mentornet_weights.json").read_text())
INPUTS = torch.tensor(REFERENCE["inputs"], dtype=torch.float64)
DIFFERENCE, PERCENT = INPUTS[:, 1], INPUTS[:, 3]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("vstar_self_paced", lambda: curriculum.self_paced(DIFFERENCE)),
        ("vstar_spcl_linear", lambda: curriculum.self_paced_linear(DIFFERENCE)),
        ("vstar_spcl_linear_gamma2", lambda: curriculum.self_paced_linear(DIFFERENCE, 2.0)),
        ("vstar_mentornet_pd", lambda: curriculum.predefined(DIFFERENCE, PERCENT)),
        ("vstar_mentornet_pd_gamma2", lambda: curriculum.predefined(DIFFERENCE, PERCENT, 2.0)),
    ],
)
def test_weights_are_the_authors(name, weights):
    expected = torch.tensor(REFERENCE["weights"][name], dtype=torch.float64)
    torch.testing.assert_close(weights(), expected, rtol=1e-9, atol=1e-12)


def test_one_percent_for_a_whole_batch_is_the_same():
    for percent in (0, 18, 19, 89, 90, 99):
        whole = curriculum.predefined(DIFFERENCE, percent)
        torch.testing.assert_close(whole, curriculum.predefined(DIFFERENCE, torch.full_like(PERCENT, percent)))


def test_the_moving_percentile_is_the_authors():
    threshold = torch.zeros((), dtype=torch.float64)
    for batch in REFERENCE["moving_percentile"]:
        losses = torch.tensor(batch["losses"], dtype=torch.float64)
        assert float(curriculum.nearest_percentile(losses, 0.75)) == batch["percentile_75_nearest"]
        threshold = curriculum.moving_threshold(threshold, losses, 0.75, 0.5)
        assert float(threshold) == pytest.approx(batch["moving_average"], rel=1e-12)
        difference = torch.tensor(batch["loss_diff"], dtype=torch.float64)
        torch.testing.assert_close(losses - threshold, difference, rtol=1e-9, atol=1e-12)


def test_percentiles_of_small_batches_by_hand():
    losses = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0])
    found = [float(curriculum.nearest_percentile(losses, p)) for p in (0.01, 0.3, 0.5, 0.75, 1.0)]
    assert found == [1.0, 2.0, 3.0, 4.0, 5.0]  # ranks from the largest: 3.96, 2.8, 2, 1, 0
    assert float(curriculum.nearest_percentile(torch.tensor([7.0]), 0.3)) == 7.0


def test_stairs_of_dropout():
    schedule = curriculum.stairs([[0.5, 17], [0.05, 78], [0.9, 5]])
    rates = [curriculum.rate_at(schedule, percent) for percent in range(100)]
    assert rates == [0.5] * 17 + [0.05] * 78 + [0.9] * 5
    for wrong, why in [
        ([[0.5, 99]], "add up to 100"),
        ([[1.5, 100]], r"\[0, 1\]"),
        ([[0.5]], "pairs"),
        ([[0.5, 50.5], [0.1, 49.5]], "whole"),
    ]:
        with pytest.raises(ValueError, match=why):
            curriculum.stairs(wrong)


def test_dropout_keeps_the_authors_number_at_random():
    assert [curriculum.kept_of(128, rate) for rate in (0.0, 0.05, 0.5, 0.9, 1.0)] == [128, 121, 64, 12, 0]
    assert curriculum.kept_of(10, 0.9) == 1  # 0 in floating point
    masks = torch.stack([curriculum.dropout_mask(20, 0.25, torch.Generator().manual_seed(s)) for s in range(400)])
    assert (masks.sum(dim=1) == 15).all()
    assert masks.mean(dim=0) == pytest.approx(0.75 * torch.ones(20).numpy(), abs=0.08)


def test_percents_cover_a_run():
    assert [curriculum.percent_of_run(step, 200) for step in (0, 1, 2, 199)] == [0, 0, 1, 99]
    assert curriculum.percent_of_run(7, 7) == 99


class Stub:
    """A task that counts."""

    counted = 0

    def count_gradients(self, images):
        self.counted += images


def closure_of(optimizer, weight, weights, decays):
    def losses(rows):
        return (torch.arange(1.0, 5.0)[slice(None) if rows is None else rows] * weight).sum(dim=1)

    return DecayedClosure(Stub(), optimizer, losses, weights, [], decay_weights=decays)


@pytest.mark.parametrize("create_graph", [False, True])
def test_weight_decay_follows_the_mean_weight(create_graph):
    weight = torch.nn.Parameter(torch.tensor([[2.0]]))
    bare = torch.nn.Parameter(torch.tensor([[3.0]]))
    optimizer = torch.optim.SGD(
        [{"params": [weight], "weight_decay": 0.1}, {"params": [bare], "weight_decay": 0.0}], lr=1.0
    )
    weights = torch.tensor([1.0, 0.0, 0.5, 0.0])

    def losses(rows):
        return torch.arange(1.0, 5.0) * (weight + bare)[0, 0]

    closure = DecayedClosure(Stub(), optimizer, losses, weights, [], decay_weights=weights)
    if create_graph:
        closure(create_graph=True).backward()
    else:
        assert closure().item() == pytest.approx((1 + 1.5) * 5 / 4)
    optimizer.step()
    mean_gradient = (1 * 1 + 0.5 * 3) / 4
    # mean(v) = 3/8 of the decay of 0.1 times 2
    assert weight.item() == pytest.approx(2 - mean_gradient - 0.375 * 0.1 * 2)
    assert bare.item() == pytest.approx(3 - mean_gradient)


def test_decoupled_weight_decay_is_left_alone():
    weight = torch.nn.Parameter(torch.tensor([[2.0]]))
    optimizer = torch.optim.AdamW([weight], weight_decay=0.1)
    if "decoupled_weight_decay" not in optimizer.param_groups[0]:
        pytest.skip("a torch that does not tell AdamW from Adam by its groups")
    weights = torch.tensor([1.0, 0.0, 0.0, 0.0])
    closure_of(optimizer, weight, weights, weights)()
    scaled = weight.grad.clone()
    closure_of(optimizer, weight, weights, None)()
    assert torch.equal(scaled, weight.grad)
