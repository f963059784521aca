"""What the methods with one network share: what they refuse, their pace, what they count."""

from __future__ import annotations

import pytest
from resumed_runs import SAM
from small_runs import small_spec

from noisybench.errors import InputError
from noisybench.methods.one_network import divided_schedule
from noisybench.methods.task import Task
from noisybench.store import Store
from noisybench.train.trainer import train

NAMES = ["truncated_gce", "elr", "gjs", "cores", "peer_loss", "dmi", "estimated_correction", "elr_plus"]


@pytest.mark.parametrize("name", NAMES)
def test_mixup_of_the_suite_is_refused(name, store, folder):
    with pytest.raises(InputError, match=r"method\.mixup"):
        train(small_spec({"method.algorithm": {"name": name}, "method.mixup": {"alpha": 1.0}}), store, folder)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"elr", "dmi"}))
def test_a_loss_that_would_not_be_used_is_refused(name, store, folder):
    with pytest.raises(InputError, match="'gce'"):
        train(small_spec({"method.algorithm": {"name": name}, "method.loss": {"name": "gce"}}), store, folder)


@pytest.mark.parametrize("name", ["elr", "dmi"])
def test_the_suites_loss_is_used(name, tmp_path, store, folder):
    results = [
        train(
            small_spec({"method.algorithm": {"name": name}, "training.epochs": 1, "method.loss": {"name": loss}}),
            type(store)(tmp_path / loss),
            folder,
        )["result"]
        for loss in ("ce", "mae")
    ]
    assert results[0]["curves_sha256"] != results[1]["curves_sha256"]


@pytest.mark.parametrize(
    ("name", "images"),
    [("truncated_gce", 900), ("elr", 900), ("gjs", 1800), ("cores", 900), ("peer_loss", 900), ("elr_plus", 1800)],
)
def test_gradients_are_counted_an_image_a_pass(name, images, tmp_path, store, folder):
    changes = {"method.algorithm": {"name": name}}
    assert train(small_spec(changes), store, folder)["result"]["gradient_evaluations"] == images
    sam = train(small_spec(changes | SAM), type(store)(tmp_path / "sam"), folder)["result"]
    assert sam["gradient_evaluations"] == 2 * images


def test_the_schedule_is_divided_by_one_plus_the_strength_of_the_epoch():
    training = {"epochs": 4, "schedule": {"name": "step", "every": 2, "gamma": 0.1}}
    factor = divided_schedule(training, lambda epoch: float(epoch))
    assert [factor(e) for e in (0, 0.9, 1, 2, 2.5, 3)] == pytest.approx([1, 1, 1 / 2, 0.1 / 3, 0.1 / 3, 0.1 / 4])


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"dmi", "estimated_correction"}))
def test_labels_of_the_hold_out_steer_nothing(name, tmp_path, store, folder, monkeypatch):
    """Truncated weights, targets, sieve and peers come from the training part alone."""
    algorithms = {
        "truncated_gce": {"start_prune": 2, "every": 1},
        "cores": {"begin": 0, "rise": 1, "sieve_after": 0},
        "peer_loss": {"milestones": [0, 1]},
    }
    changes = {"method.algorithm": {"name": name, **algorithms.get(name, {})}, "dataset.validation": 0.2}
    outcomes = []
    for scrambled in (False, True):
        if scrambled:
            make = Task.__init__

            def poisoned(self, *args, make=make, **options):
                make(self, *args, **options)
                self.labels = self.labels.clone()
                self.labels[self.holdout] = (self.labels[self.holdout] + 1) % 10

            monkeypatch.setattr(Task, "__init__", poisoned)
        rows = []
        result = train(small_spec(changes), Store(tmp_path / str(scrambled)), folder, observe=rows.append)["result"]
        assert any("holdout_loss" in row for row in rows)
        keys = ("train_loss", "test_loss", "test_accuracy")
        outcomes.append(([[row[key] for key in keys] for row in rows if row["type"] == "epoch"], result["details"]))
    assert outcomes[0] == outcomes[1]
