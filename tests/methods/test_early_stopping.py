"""Early stopping on the noisy hold-out."""

from __future__ import annotations

import pytest
from small_runs import small_spec, stopped_after

from noisybench.errors import InputError
from noisybench.store import read_arrays
from noisybench.train.trainer import train

STOPPING = {"method.algorithm": {"name": "early_stopping"}, "dataset.validation": 0.2}


def test_it_answers_with_the_epoch_that_plain_training_had_its_best_holdout_accuracy(tmp_path, store, folder):
    changes = {"model.width": 256, "training.epochs": 20, "dataset.validation": 0.2}
    plain, other = small_spec(changes), type(store)(tmp_path / "plain")
    train(plain, other, folder)
    curves, _ = read_arrays(other.folder(plain.run_id) / "curves.npz")
    holdout, test = curves["holdout_accuracy"], curves["test_accuracy"]
    best = int(holdout.argmax())  # the earliest of equals
    assert 0 < best < 19  # later epochs memorise
    record = train(small_spec(changes | STOPPING), store, folder)["result"]
    assert record["details"] == {"stopped_at": best + 1, "holdout_accuracy": pytest.approx(holdout[best])}
    assert record["test_accuracy"]["last"] == test[best]
    assert record["test_accuracy"]["last"] > test[-1]
    curves, _ = read_arrays(store.folder(small_spec(changes | STOPPING).run_id) / "curves.npz")
    so_far = [int(holdout[: e + 1].argmax()) for e in range(20)]
    assert curves["test_accuracy"].tolist() == test[so_far].tolist()


def test_without_a_holdout_it_says_what_to_do(store, folder):
    with pytest.raises(InputError, match=r"dataset\.validation"):
        train(small_spec({"method.algorithm": {"name": "early_stopping"}}), store, folder)


def test_averages_that_nobody_would_see_are_refused(store, folder):
    averaging = {"kind": "ema", "decay": 0.9, "start": 0.0}
    with pytest.raises(InputError, match="remove averaging"):
        train(small_spec(STOPPING | {"method.averaging": averaging}), store, folder)


@pytest.mark.parametrize("model", ["mlp", "small_cnn"])
def test_stopped_after_any_epoch_it_ends_with_the_same_record(model, tmp_path, store, folder):
    spec = small_spec(STOPPING | {"training.epochs": 4, "method.mixup": {"alpha": 1.0}, "model": {"name": model}})
    whole = train(spec, store, folder)
    for epochs in range(1, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]
