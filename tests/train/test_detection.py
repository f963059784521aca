"""Scores of suspicion against the truth: areas and shares by hand, and every detector on easy labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from noisybench.methods.algorithm import Suspicion
from noisybench.seeding import Draws
from noisybench.train.detection import detect, judge
from noisybench.train.evaluation import Truth


def scores(*values: float) -> Suspicion:
    return Suspicion(torch.tensor(values))


def test_area_and_kept_share_by_hand() -> None:
    # right labels score 1, 2, 4; wrong ones 3, 5: of the six pairs, all but (4, 3) are in order; two of the three
    # least suspicious (1, 2, 3) are right
    found = judge(scores(1, 5, 2, 3, 4), np.array([False, True, False, True, False]))
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["kept_right"] == pytest.approx(100 * 2 / 3)
    assert found["rate"] is None


def test_ties_count_half_and_by_their_mean() -> None:
    found = judge(scores(1, 1, 1, 1), np.array([True, False, False, False]))
    assert found["auc"] == 0.5
    assert found["kept_right"] == pytest.approx(75)


def test_the_area_is_that_of_scikit_learn() -> None:
    draws = Draws(0, "data")
    wrong = draws.uniforms(400) < 0.3
    values = np.round(draws.uniforms(400) + 0.4 * wrong, 2)  # with ties
    assert judge(Suspicion(torch.from_numpy(values)), wrong)["auc"] == pytest.approx(roc_auc_score(wrong, values))


@pytest.mark.parametrize("wrong", [np.zeros(4, bool), np.ones(4, bool)])
def test_nothing_to_find_is_said(wrong: np.ndarray) -> None:
    assert judge(scores(1, 2, 3, 4), wrong) == {"auc": None, "kept_right": None, "rate": None}


def test_every_detector_of_losses_finds_labels_that_a_network_contradicts() -> None:
    n, classes = 2000, 10
    draws = Draws(1, "data")
    clean = torch.from_numpy(draws.permutation(n) % classes)
    noisy = clean.clone()
    noisy[:800] = (clean[:800] + 1) % classes
    logits = torch.nn.functional.one_hot(clean, classes) * 4.0 + torch.from_numpy(draws.uniforms(n * classes)).reshape(
        n, classes
    )
    truth = Truth(noisy, clean, torch.zeros(n, dtype=torch.bool))
    index = torch.arange(100, n)  # 700 of 1900 wrong
    found = detect(logits, truth, index, seed=0, own={"mine": Suspicion(torch.zeros(len(index)), 0.25)})
    assert set(found.judged) == {"small_loss", "gmm", "bmm", "permuted", "mine"}
    for name in ("small_loss", "gmm", "bmm"):
        assert found.judged[name]["auc"] > 0.99
        assert found.judged[name]["kept_right"] > 99
    assert found.judged["gmm"]["rate"] == pytest.approx(100 * 700 / 1900, abs=1)
    assert found.judged["permuted"]["auc"] == pytest.approx(0.5, abs=0.04)
    assert found.judged["mine"] == {"auc": 0.5, "kept_right": pytest.approx(100 * 1200 / 1900), "rate": 25.0}
    assert all(len(values) == len(index) for values in found.scores.values())


def test_an_image_that_shows_no_class_counts_as_wrong() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    truth = Truth(labels, labels, torch.tensor([True, False, False, False]))
    logits = torch.tensor([[0.0, 5.0], [0.0, 5.0], [5.0, 0.0], [0.0, 5.0]])
    assert detect(logits, truth, torch.arange(4), seed=0, own={}).judged["small_loss"]["auc"] == 1.0
