"""The generative classifier against the authors' numbers and by hand, and RoG as a method."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench.methods import generative
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "rog_generative.json").read_text())


def reference(key):
    return torch.tensor(REFERENCE[key], dtype=torch.float64)


def given():
    return reference("features"), torch.tensor(REFERENCE["noisy_labels"])


def test_the_step_keeps_the_samples_that_the_authors_code_keeps():
    features, labels = given()
    for case in REFERENCE["mcd"]:
        own = features[labels == case["class_"]]
        assert len(own) == case["n"]
        mean = reference("initial_means")[case["class_"]]
        _, _, kept = generative.determinant_step(own, mean, reference("initial_precision"), 0.7)
        assert kept.tolist() == sorted(case["kept_positions"])
        assert len(kept) == case["kept"] == int(0.7 * case["n"])


def test_means_covariance_and_head_are_those_of_the_authors_code():
    features, labels = given()
    means, tied = generative.robust_gaussians(
        features, labels, reference("initial_means"), reference("initial_precision"), 0.7
    )
    torch.testing.assert_close(means, reference("means"), rtol=1e-5, atol=1e-5)  # they compute in float32
    torch.testing.assert_close(tied, reference("tied_covariance"), rtol=1e-5, atol=1e-5)
    precision = generative.inverse_covariance(tied)
    torch.testing.assert_close(precision, reference("precision"), rtol=1e-4, atol=1e-5)
    weight, bias = generative.linear_head(means, precision)
    torch.testing.assert_close(weight, reference("lda_weight"), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bias, reference("lda_bias"), rtol=1e-4, atol=1e-4)
    probabilities = torch.softmax(features[:10] @ weight.T + bias, dim=1)
    torch.testing.assert_close(probabilities, reference("softmax_of_first_10"), rtol=1e-3, atol=1e-6)


def test_the_head_is_the_posterior_of_equal_gaussians():
    means = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    precision = torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.25]], dtype=torch.float64)
    weight, bias = generative.linear_head(means, precision)
    squared = torch.tensor([1 + 4 * 0.0625, 1 + 4 * 0.0625, 1 + 4 * 0.5625], dtype=torch.float64)
    expected = torch.softmax(-squared / 2, dim=0)
    torch.testing.assert_close(torch.softmax(x @ weight.T + bias, dim=1)[0], expected)


def test_the_start_is_the_mean_and_tied_covariance_of_the_drawn_share():
    features, labels = given()
    means, precision = generative.initial_gaussians(features, labels, 3, 1.0, torch.Generator())
    centred = features - torch.stack([features[labels == c].mean(dim=0) for c in range(3)])[labels]
    torch.testing.assert_close(means, torch.stack([features[labels == c].mean(dim=0) for c in range(3)]))
    torch.testing.assert_close(precision, torch.linalg.inv(centred.T @ centred / len(features)))
    some = generative.initial_gaussians(features, labels, 3, 0.7, torch.Generator().manual_seed(1))
    other = generative.initial_gaussians(features, labels, 3, 0.7, torch.Generator().manual_seed(2))
    assert not torch.equal(some[0], other[0])


def test_an_absent_class_is_never_chosen():
    features, labels = given()
    means, precision = generative.initial_gaussians(features, labels, 4, 0.7, torch.Generator())
    means, tied = generative.robust_gaussians(features, labels, means, precision, 0.7)
    weight, bias = generative.linear_head(means, generative.inverse_covariance(tied))
    probabilities = torch.softmax(features @ weight.T + bias, dim=1)
    assert torch.isfinite(probabilities).all()
    assert probabilities[:, 3].max() == 0
    near = generative.nearest_half(features, torch.full_like(labels, 3), means, precision)
    assert len(near) == 105


def test_the_nearest_half_by_hand():
    features = torch.tensor([[0.0], [5.0], [10.0], [11.0]], dtype=torch.float64)
    means, precision = torch.tensor([[0.0], [10.0]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])  # distances 0, 25, 100, 1
    assert generative.nearest_half(features, labels, means, precision).tolist() == [0, 3]


def test_layers_that_know_the_labels_get_the_weight():
    labels = torch.arange(3).repeat(40)
    right = torch.full((120, 3), 0.05, dtype=torch.float64)
    right[torch.arange(120), labels] = 0.9
    layers = torch.stack([torch.full((120, 3), 1 / 3, dtype=torch.float64), right])
    weights = generative.ensemble_weights(layers, labels, torch.Generator())
    assert float(weights.sum()) == pytest.approx(1)
    assert weights[1] > 0.6  # from one half, in 40 steps of Adam
    first = generative.ensemble_weights(layers, labels, torch.Generator(), epochs=0)
    assert first.tolist() == [0.5, 0.5]
    log_p = generative.mixture(layers, torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert float(log_p[0, 0]) == pytest.approx(math.log(0.25 / 3 + 0.75 * 0.9))


def test_it_predicts_better_than_the_softmax_layer_it_replaces(store, folder):
    """The paper's claim, where the network has memorised most wrong labels: two layers of 64, 40 % wrong."""
    rog, erm = [], []
    for seed in (0, 1):
        base = {"dataset.train_subset": 1200, "dataset.test_subset": 500, "training.epochs": 40, "seed": seed}
        base["model"] = {"name": "mlp", "width": 64, "depth": 2}
        for accuracies, name in ((rog, "rog"), (erm, "erm")):
            result = train(small_spec(base | {"method.algorithm": {"name": name}}), store, folder)["result"]
            accuracies.append(result["test_accuracy"]["last"])
    assert sum(rog) > sum(erm) + 2 * 5


@pytest.mark.parametrize("validation", [0.0, 0.1])
def test_resuming_changes_nothing(validation, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": {"name": "rog"}, "dataset.validation": validation, "model.depth": 2})
    whole = train(spec, store, folder)
    for epochs in (1, 3):  # after the third, everything is fitted
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]
    details = whole["result"]["details"]
    assert details["layer_weight_0"] + details["layer_weight_1"] == pytest.approx(1)
    held = 30 if validation else 15  # a tenth by the suite, else a twentieth by the method
    assert details["fitted_on"] == held // 2
    assert whole["result"]["gradient_evaluations"] == 3 * (300 - held)


def test_it_works_on_a_network_with_batch_norm_and_mixup(store, folder):
    changes = {"model": {"name": "small_cnn", "width": 8}, "method.mixup": {"alpha": 1.0}}
    record = train(small_spec({"method.algorithm": {"name": "rog"}, "training.epochs": 2} | changes), store, folder)
    assert record["result"]["status"] == "finished"
    assert record["result"]["test_accuracy"]["last"] > 30
