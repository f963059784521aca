"""Small-loss selection and its losses against the published code's numbers, and by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from noisybench.losses import build_loss
from noisybench.methods.small_loss import (
    exchange,
    forget_rate_at,
    joint_losses,
    keep_count,
    keep_counts,
    mean_over,
    smallest,
)

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "coteaching_jocor.json").read_text())
CASES = [case for case in REFERENCE["cases"] if case["dtype"] == "float64"]
KEEPING = [case for case in CASES if case["num_remember"]]  # where it keeps none, the published code has NaN
LABELS = torch.tensor(REFERENCE["inputs"]["labels"])


def logits():
    return [torch.tensor(REFERENCE["inputs"][f"logits_{i}"], dtype=torch.float64, requires_grad=True) for i in (1, 2)]


def close(one, two):
    return torch.allclose(torch.as_tensor(one, dtype=torch.float64), torch.as_tensor(two, dtype=torch.float64), 1e-9)


@pytest.mark.parametrize("schedule", REFERENCE["rate_schedules"], ids=str)
def test_forget_rates_rise_as_published(schedule):
    rates = [
        forget_rate_at(e, schedule["forget_rate"], schedule["num_gradual"], schedule["exponent"]) for e in range(20)
    ]
    assert rates == pytest.approx(schedule["rate_schedule_first_20"], abs=1e-12)


def test_counts_are_rounded_down_but_not_by_floating_point():
    assert keep_count(0.9, 10) == 1  # int((1 - .9) * 10) is 0
    assert keep_count(0.95, 16) == 1  # 0.8 images would be none
    assert [keep_count(0.2, n) for n in (0, 1, 4, 5, 16)] == [0, 1, 3, 4, 12]
    assert keep_counts(0.45, 20).tolist() == [keep_count(0.45, n) for n in range(21)]
    assert keep_count(0.45, 20) == 11
    assert keep_count(0.0, 7) == 7


@pytest.mark.parametrize("case", KEEPING, ids=lambda case: str(case["forget_rate"]))
def test_coteaching_learns_what_the_published_code_learns(case):
    nets = logits()
    losses = [functional.cross_entropy(z, LABELS, reduction="none") for z in nets]
    counts = keep_counts(case["forget_rate"], 16)
    assert int(counts[16]) == case["num_remember"]
    chosen = exchange(losses[0], losses[1], counts)
    for i in (0, 1):  # the order of the *other* network decides
        order = REFERENCE[f"order_{2 - i}"]
        assert chosen[i].nonzero().flatten().tolist() == sorted(order[: case["num_remember"]])
    means = [(mean_over(mask, torch.float64) * loss).mean() for mask, loss in zip(chosen, losses, strict=True)]
    published, again = case["coteaching"], case["num_remember"]  # there divided again by the number of picks
    assert close(means[0] / again, published["loss_1"])
    assert close(means[1] / again, published["loss_2"])
    ((means[0] + means[1]) / again).backward()
    assert close(nets[0].grad, published["grad_logits_1"])
    assert close(nets[1].grad, published["grad_logits_2"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["forget_rate"]))
def test_coteaching_plus_exchanges_among_disagreements_as_the_published_code(case):
    nets = logits()
    # there the cross entropy is taken of softmax outputs
    losses = [functional.cross_entropy(z.softmax(dim=1), LABELS, reduction="none") for z in nets]
    differ = nets[0].argmax(dim=1) != nets[1].argmax(dim=1)
    assert differ.tolist() == REFERENCE["disagree"]
    chosen = exchange(losses[0], losses[1], keep_counts(case["forget_rate"], 16), differ)
    count = int((1 - case["forget_rate"]) * int(differ.sum()))
    if count == 0:  # there all are kept, here one
        assert [int(mask.sum()) for mask in chosen] == [1, 1]
        return
    means = [(mean_over(mask, torch.float64) * loss).mean() for mask, loss in zip(chosen, losses, strict=True)]
    published = case["coteaching_plus_disagreement"]
    assert close(means[0] / count, published["loss_1"])
    assert close(means[1] / count, published["loss_2"])
    ((means[0] + means[1]) / count).backward()
    assert close(nets[0].grad, published["grad_logits_1"])
    assert close(nets[1].grad, published["grad_logits_2"])


@pytest.mark.parametrize("co_lambda", [0.1, 0.9])
@pytest.mark.parametrize("case", KEEPING, ids=lambda case: str(case["forget_rate"]))
def test_jocor_has_the_published_joint_loss_and_gradient(case, co_lambda):
    nets = logits()
    losses = joint_losses((nets[0], nets[1]), LABELS, co_lambda, build_loss("ce"))
    chosen = smallest(losses, case["num_remember"])
    assert int(chosen.sum()) == case["num_remember"]
    mean = (mean_over(chosen, torch.float64) * losses).mean()
    published = case[f"jocor_lambda{co_lambda}"]
    assert close(mean, published["loss_1"])
    mean.backward()
    assert close(nets[0].grad, published["grad_logits_1"])
    assert close(nets[1].grad, published["grad_logits_2"])


def test_joint_losses_by_hand():
    one, two = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])  # p = (1/2, 1/2), (3/4, 1/4)
    losses = joint_losses((one, two), torch.tensor([1]), 0.25, build_loss("ce"))
    divergence = (0.5 - 0.75) * math.log(0.5 / 0.75) + (0.5 - 0.25) * math.log(0.5 / 0.25)
    assert losses.item() == pytest.approx(0.75 * (math.log(2) + math.log(4)) + 0.25 * divergence, rel=1e-6)


def test_smallest_counts_ties_once_and_looks_only_where_it_may():
    losses = torch.tensor([2.0, 1.0, 1.0, 1.0, 5.0])
    assert smallest(losses, 2).tolist() == [False, True, True, False, False]
    among = torch.tensor([True, False, False, True, True])
    assert smallest(losses, 2, among).tolist() == [True, False, False, True, False]
    assert not smallest(losses, torch.tensor(0), among).any()
    assert smallest(losses, 5).all()


def test_nothing_chosen_is_no_loss_and_no_gradient():
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    none = torch.zeros(2, dtype=torch.bool)
    assert mean_over(none).tolist() == [0.0, 0.0]
    chosen = exchange(losses, losses, keep_counts(0.3, 2), none)
    loss = (mean_over(chosen[0]) * losses).mean()
    loss.backward()
    assert loss.item() == 0.0
    assert losses.grad.tolist() == [0.0, 0.0]
    assert (mean_over(torch.tensor([True, False, True, True])) * torch.tensor([1.0, 9.0, 2.0, 6.0])).mean() == 3.0
