"""Folds by hand, cleanlab's rules on labels whose truth is known, and confident learning as a method."""

from __future__ import annotations

import numpy as np
import pytest
from small_runs import small_spec, stopped_after

from noisybench.errors import MissingExtra
from noisybench.methods import confident_learning
from noisybench.methods.confident_learning import label_issues, stratified_folds
from noisybench.seeding import Draws
from noisybench.train.trainer import train


def spec_of(changes=None, **params):
    return small_spec({"method.algorithm": {"name": "confident_learning", **params}} | (changes or {}))


def test_folds_are_of_one_size_and_so_are_their_shares_of_a_class():
    labels = np.repeat([0, 1, 2], [10, 23, 4])
    folds = stratified_folds(labels, 4, Draws(0, "method", "folds"))
    assert sorted(np.bincount(folds)) == [9, 9, 9, 10]
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    other = stratified_folds(labels, 4, Draws(1, "method", "folds"))
    assert not np.array_equal(folds, other)


def test_without_cleanlab_the_extra_is_named(store, folder, monkeypatch):
    monkeypatch.setattr(confident_learning.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'noisybench\[cleanlab\]'"):
        train(spec_of(), store, folder)


RULES = ["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]


@pytest.mark.parametrize("rule", RULES)
def test_labels_that_good_predictions_contradict_are_found(rule):
    pytest.importorskip("cleanlab")
    true = np.arange(400) % 4
    labels = np.where(np.arange(400) % 10 < 3, (true + 1) % 4, true)
    probabilities = np.full((400, 4), 0.05)
    probabilities[np.arange(400), true] = 0.85
    assert np.array_equal(label_issues(labels, probabilities, rule), labels != true)


def test_predictions_that_say_nothing_prune_nothing_and_an_absent_class_does_no_harm():
    pytest.importorskip("cleanlab")
    labels = np.arange(300) % 3  # class 3 does not occur
    assert not label_issues(labels, np.full((300, 4), 0.25), "prune_by_noise_rate").any()


@pytest.mark.parametrize("changes", [{}, {"dataset.validation": 0.1}], ids=["all", "hold-out"])
def test_resuming_in_any_phase_changes_nothing(changes, tmp_path, store, folder):
    pytest.importorskip("cleanlab")
    spec = spec_of({"training.epochs": 2, "model": {"name": "small_cnn", "width": 4}} | changes, folds=2)
    whole = train(spec, store, folder)
    assert whole["result"]["epochs"] == 6
    for epochs in range(1, 6):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


def test_each_fold_is_predicted_by_the_network_that_did_not_see_it(store, folder, monkeypatch):
    """Labels are counted: every sample is trained on in all folds but its own, then only if it was kept."""
    seen = []
    monkeypatch.setattr(
        confident_learning, "label_issues", lambda labels, probabilities, rule: np.arange(len(labels)) < 60
    )
    monkeypatch.setattr(confident_learning, "_require_cleanlab", lambda: None)
    original = confident_learning.ConfidentLearning.loader

    def loader(self, phase):
        made = original(self, phase)
        seen.append((phase.name, set(made.index.tolist())))
        return made

    monkeypatch.setattr(confident_learning.ConfidentLearning, "loader", loader)
    result = train(spec_of({"training.epochs": 1}, folds=3), store, folder)["result"]
    left_out = [set(range(300)) - index for name, index in seen if name != "train"]
    assert [len(fold) for fold in left_out] == [100, 100, 100]
    assert set.union(*left_out) == set(range(300))
    assert seen[-1] == ("train", set(range(60, 300)))
    assert result["gradient_evaluations"] == 3 * 200 + 240
    assert result["details"] == {"kept_share": 0.8, "estimated_noise_rate": pytest.approx(0.2)}


@pytest.mark.parametrize("issues", [0, 299, 300])
def test_it_survives_pruning_nothing_and_everything(issues, store, folder, monkeypatch):
    monkeypatch.setattr(confident_learning, "label_issues", lambda labels, p, rule: np.arange(len(labels)) < issues)
    monkeypatch.setattr(confident_learning, "_require_cleanlab", lambda: None)
    result = train(spec_of({"training.epochs": 1}, folds=2), store, folder)["result"]
    assert result["status"] == "finished"
    assert result["details"]["kept_share"] == 1  # one image makes no batch


def test_it_beats_plain_training_where_that_memorises(store, folder):
    """40 % wrong labels, 1,200 digits, a wide network that ends with most wrong labels by heart."""
    pytest.importorskip("cleanlab")
    accuracies = {}
    for name, params in {"confident_learning": {"fold_epochs": 6}, "erm": {}}.items():
        changes = {"dataset.train_subset": 1200, "dataset.test_subset": 500, "training.epochs": 30, "model.width": 256}
        result = train(small_spec(changes | {"method.algorithm": {"name": name, **params}}), store, folder)["result"]
        accuracies[name] = result["test_accuracy"]["last"]
        if name == "confident_learning":
            assert result["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
    assert accuracies["confident_learning"] > accuracies["erm"] + 5
