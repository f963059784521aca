"""What holds for every registered algorithm, and mixup by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_runs import small_spec

from noisybench import registry
from noisybench.methods.mixing import Mix, draw_epoch
from noisybench.train.trainer import train


@pytest.mark.parametrize("name", registry.names("algorithm"))
def test_every_algorithm_trains_learns_and_is_reproducible(name, tmp_path, store, folder):
    if name == "linear_probe":
        pytest.skip("needs pretrained weights; test_linear_probe.py trains one on a stand-in")
    if extra := registry.get("algorithm", name).traits.get("extra"):
        pytest.importorskip(extra)
    holdout = 0.1 if registry.get("algorithm", name).traits.get("needs_holdout") else 0.0
    changes = {"method.algorithm": {"name": name}, "training.epochs": 6, "noise.rate": 0.2}
    spec = small_spec(changes | {"dataset.validation": holdout})
    record = train(spec, store, folder)
    assert record["result"]["status"] == "finished"
    assert (
        record["result"]["test_accuracy"]["last"] > 40
    )  # six epochs on 300 digits, a warm-up among them: chance is 10
    assert record["result"]["gradient_evaluations"] >= 6 * 300 / 2  # some hold images out, or stop looking at them
    again = train(spec, type(store)(tmp_path / "again"), folder)
    assert again["result_sha256"] == record["result_sha256"]


@pytest.mark.parametrize("name", registry.names("algorithm"))
def test_every_algorithm_says_whether_its_step_can_be_captured(name):
    assert isinstance(registry.get("algorithm", name).target.capturable, bool)


def test_a_mix_is_a_convex_combination_of_images_and_losses():
    images = torch.tensor([[1.0], [3.0], [5.0]])
    mix = Mix(torch.tensor(0.25), torch.tensor([1, 2, 0]))
    assert mix.images(images).flatten().tolist() == [2.5, 4.5, 2.0]
    logits, labels = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    by_label = lambda z, y: y.double() + 1  # noqa: E731
    assert mix.loss(by_label, logits, labels).tolist() == [0.25 * 1 + 0.75 * 2, 2.0, 0.25 * 2 + 0.75 * 1]


def test_draws_of_mixup_are_one_weight_and_one_permutation_a_batch():
    cpu = torch.device("cpu")
    mixes = list(draw_epoch(8.0, [4] * 500 + [3], seed=0, epoch=1, device=cpu))
    weights = np.array([float(mix.weight) for mix in mixes])
    assert len(mixes) == 501
    assert all(sorted(mix.partner.tolist()) == list(range(4)) for mix in mixes[:-1])
    assert sorted(mixes[-1].partner.tolist()) == [0, 1, 2]
    assert abs(weights.mean() - 0.5) < 0.02
    assert weights.var() == pytest.approx(1 / (4 * (2 * 8 + 1)), rel=0.2)  # of Beta(8, 8)
    again = list(draw_epoch(8.0, [4] * 500 + [3], seed=0, epoch=1, device=cpu))
    assert all(torch.equal(a.partner, b.partner) and a.weight == b.weight for a, b in zip(mixes, again, strict=True))
    other = list(draw_epoch(8.0, [4] * 500 + [3], seed=0, epoch=2, device=cpu))
    assert weights.tolist() != [float(mix.weight) for mix in other]
