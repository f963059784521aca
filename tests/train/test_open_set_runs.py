"""Runs with open-set images: what is trained on, what is counted, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from small_runs import small_spec

from noisybench.data import DataFolder
from noisybench.store import Store
from noisybench.train.setup import gather
from noisybench.train.trainer import train

OPEN = {"rate": 0.3, "from": {"name": "synthetic", "channels": 1, "height": 8, "width": 8, "train_size": 500}}


def test_labels_do_not_know_of_replaced_images(store: Store, folder: DataFolder) -> None:
    plain = gather(small_spec().data, folder, store)
    opened = gather(small_spec({"noise.open_set": OPEN}).data, folder, store)
    assert opened.noise.sha256 == plain.noise.sha256
    assert opened.open_set.mask.sum() == 90  # 0.3 of 300
    assert plain.open_set.sha256 is None
    same = (opened.open_set.images == plain.dataset.train_images).all(axis=(1, 2, 3))
    assert (same == ~opened.open_set.mask).all()
    other = gather(small_spec({"noise.open_set": OPEN, "seed": 1}).data, folder, store)
    assert (other.open_set.mask != opened.open_set.mask).any()


def test_open_set_images_are_counted_apart_and_never_memorised(store: Store, folder: DataFolder) -> None:
    spec = small_spec({"noise.open_set": OPEN, "dataset.validation": 0.2, "training.epochs": 20, "model.width": 256})
    result = train(spec, store, folder)["result"]
    materials = gather(spec.data, folder, store)
    index, holdout, mask = materials.index, materials.holdout, materials.open_set.mask
    noise, final = result["noise"], result["final"]
    assert noise["open_set_rate"] == pytest.approx(mask[index].mean())
    assert noise["open_set_rate_holdout"] == pytest.approx(mask[holdout].mean())
    flips = materials.noise.flipped & ~mask
    assert noise["realised_rate"] == pytest.approx(flips[index].mean())
    assert noise["realised_rate"] < 0.4 * 0.8  # the flips of replaced images are not flips
    closed = index[~mask[index]]
    predicted, _ = store.predictions(spec.run_id)
    clean, noisy = materials.dataset.train_labels, materials.noise.labels
    wrong = closed[noisy[closed] != clean[closed]]
    assert final["memorised"] == pytest.approx(100 * (predicted[wrong] == noisy[wrong]).mean(), abs=1e-3)
    assert final["corrected"] == pytest.approx(100 * (predicted[wrong] == clean[wrong]).mean(), abs=1e-3)
    assert final["clean_accuracy"] == pytest.approx(100 * (predicted[closed] == clean[closed]).mean(), abs=1e-3)
    rows = np.array(noise["transition"]) * np.bincount(clean[~mask], minlength=10)[:, None]
    assert rows.sum() == pytest.approx((~mask).sum())


def test_a_run_of_nothing_but_open_set_images_ends(store: Store, folder: DataFolder) -> None:
    spec = small_spec({"noise.open_set": {**OPEN, "rate": 1.0}, "training.epochs": 1})
    result = train(spec, store, folder)["result"]
    assert result["noise"]["open_set_rate"] == 1
    assert result["noise"]["realised_rate"] == 0
    assert result["final"]["memorised"] is None


def test_a_plain_run_says_nothing_of_open_sets(store: Store, folder: DataFolder) -> None:
    noise = train(small_spec({"training.epochs": 1}), store, folder)["result"]["noise"]
    assert (noise["open_set_rate"], noise["open_set_sha256"]) == (None, None)
    assert noise["expected_rate"] == pytest.approx(0.4)
