"""DivideMix's pieces against the authors' numbers and by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from noisybench.methods import mixmatch
from noisybench.methods.mixmatch import MixedBatch

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "dividemix.json").read_text())


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize("case", REFERENCE["semi_loss"], ids=lambda case: f"epoch {case['epoch']}")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_and_gradients_of_the_authors_code(case, dtype):
    kind, expected = getattr(torch, dtype), case[dtype]
    logits = [tensor(REFERENCE[key], kind).requires_grad_() for key in ("logits_x", "logits_u")]
    targets = torch.cat([tensor(REFERENCE[key], kind) for key in ("targets_x", "targets_u")])
    labelled = len(logits[0])
    batch = MixedBatch(torch.zeros(len(targets), 1, 1, 1), targets, labelled)
    strength = 25 * mixmatch.ramp(case["epoch"] - case["warm_up"], 16)
    assert strength == pytest.approx(expected["lambda_u"])
    tolerance = {"rel": 1e-9 if dtype == "float64" else 1e-5}
    losses = batch.losses(torch.cat(logits), strength)
    assert losses.shape == (len(targets),)
    assert losses.mean().item() == pytest.approx(expected["total"], **tolerance)
    bare = batch.losses(torch.cat(logits), 0.0) - mixmatch.uniform_penalty(torch.cat(logits))
    assert bare.mean().item() == pytest.approx(expected["Lx"], **tolerance)
    one = batch.losses(torch.cat(logits), 1.0) - batch.losses(torch.cat(logits), 0.0)
    assert one.mean().item() == pytest.approx(expected["Lu"], rel=1e-9 if dtype == "float64" else 1e-3)
    penalty = mixmatch.uniform_penalty(torch.cat(logits)).item()
    assert penalty == pytest.approx(expected["prior_penalty"], rel=1e-9 if dtype == "float64" else 1e-4)
    losses.mean().backward()
    for z, key in zip(logits, ("grad_logits_x", "grad_logits_u"), strict=True):
        torch.testing.assert_close(
            z.grad, tensor(expected[key], kind), rtol=1e-8 if dtype == "float64" else 1e-4, atol=1e-7
        )


def test_losses_of_some_rows_are_those_rows_but_for_the_penalty():
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 4, dtype=torch.float64), torch.rand(8, 4, dtype=torch.float64)
    batch, rows = MixedBatch(torch.zeros(8, 1, 1, 1), targets, 3), torch.tensor([1, 2, 6])
    whole = batch.losses(logits, 5.0) - mixmatch.uniform_penalty(logits)
    some = batch.losses(logits[rows], 5.0, rows) - mixmatch.uniform_penalty(logits[rows])
    torch.testing.assert_close(some, whole[rows])


def test_a_batch_without_unlabelled_rows_has_a_supervised_loss_alone():
    targets = torch.eye(3, dtype=torch.float64)
    losses = MixedBatch(torch.zeros(3, 1, 1, 1), targets, 3).losses(torch.zeros(3, 3, dtype=torch.float64), 25.0)
    torch.testing.assert_close(losses, torch.full((3,), math.log(3), dtype=torch.float64))


def test_negative_entropy():
    case = REFERENCE["neg_entropy"]
    logits = tensor(case["logits"]).requires_grad_()
    value = mixmatch.negative_entropy(logits).mean()
    value.backward()
    assert value.item() == pytest.approx(case["value"], rel=1e-9)
    torch.testing.assert_close(logits.grad, tensor(case["grad"]), rtol=1e-8, atol=1e-10)


def test_refined_targets():
    case = REFERENCE["refinement"]
    views = [tensor(case["logits_view1"]), tensor(case["logits_view2"])]
    got = mixmatch.refined_targets(views, torch.tensor(case["labels"]), tensor(case["w_clean"]), case["T"])
    torch.testing.assert_close(got, tensor(case["refined_targets"]), rtol=1e-9, atol=1e-12)


def test_guessed_targets():
    case = REFERENCE["co_guess"]
    views = [tensor(case[f"logits_net{n}_view{v}"]) for n in (1, 2) for v in (1, 2)]
    got = mixmatch.guessed_targets(views, case["T"])
    torch.testing.assert_close(got, tensor(case["guessed_targets"]), rtol=1e-9, atol=1e-12)


def test_the_split_is_that_of_the_authors_mixture():
    case = REFERENCE["gmm"]
    losses = mixmatch.normalised(tensor(case["losses"]))
    assert (losses.min(), losses.max()) == (0, 1)
    clean, wrong = mixmatch.split_by_loss(losses.numpy(), 0)
    np.testing.assert_allclose(clean, case["clean_probability"], rtol=1e-6, atol=1e-9)
    assert wrong == pytest.approx(case["weights"][1], rel=1e-6)


def test_equal_losses_call_every_label_right():
    losses = mixmatch.normalised(torch.full((5,), 2.0))
    assert losses.tolist() == [0.0] * 5
    clean, wrong = mixmatch.split_by_loss(losses.numpy(), 0)
    assert clean.tolist() == [1.0] * 5
    assert wrong == 0


def test_mixing_by_hand():
    batch = MixedBatch(torch.tensor([[1.0], [3.0]]), torch.eye(2), 1)
    mixed = mixmatch.mix(batch, torch.tensor(0.75), torch.tensor([1, 0]))
    assert mixed.images.flatten().tolist() == [1.5, 2.5]
    assert mixed.targets.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert mixed.labelled == 1


def test_sharpening_by_hand():
    sharp = mixmatch.sharpen(torch.tensor([[0.75, 0.25]]), 0.5)
    assert sharp[0].tolist() == pytest.approx([0.9, 0.1])  # 9/16 : 1/16


def test_the_ramp_rises_from_the_warm_up_to_its_length():
    assert [mixmatch.ramp(done, 16) for done in (-1, 0, 4, 16, 99)] == [0, 0, 0.25, 1, 1]
    assert mixmatch.ramp(0, 0) == 1
