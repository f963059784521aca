"""What the methods with one network share: what they refuse, their pace, what they count."""

from __future__ import annotations

import pytest
from resumed_runs import SAM
from small_runs import small_spec

from noisybench.errors import InputError
from noisybench.methods.one_network import divided_schedule
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
