"""What a process keeps between runs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from small_runs import SMALL

from noisybench.train import kept
from noisybench.train.setup import noisy_labels


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(kept, "_noise", type(kept._noise)())
    monkeypatch.setattr(kept, "_own", {})
    monkeypatch.setattr(kept, "_others", {})


def spec(**blocks):
    data = copy.deepcopy(SMALL)
    for key, value in blocks.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    return data


def test_a_data_set_is_loaded_once_and_one_is_kept(folder):
    first = kept.load_subset(spec(), folder)
    assert kept.load_subset(spec(seed=3), folder) is first
    assert kept.load_subset(spec(dataset={"validation": 0.2}), folder) is first
    other = kept.load_subset(spec(dataset={"train_subset": 200}), folder)
    assert len(other.train_labels) == 200
    assert len(kept._own) == 1


def test_noise_is_injected_once_for_each_data_set_noise_and_seed(folder):
    made = []

    def keep(data):
        def inject():
            made.append(data)
            return noisy_labels(data, kept.load_subset(data, folder))

        return kept.keep_noise(data, folder, inject)

    one = keep(spec())
    assert np.array_equal(keep(spec(method={"loss": {"name": "gce", "q": 0.7}})).labels, one.labels)
    assert len(made) == 1
    for other in (spec(seed=1), spec(noise={"rate": 0.2}), spec(dataset={"train_subset": 200})):
        assert not np.array_equal(keep(other).labels, one.labels)
    assert len(made) == 4
    keep(spec(noise={"seed": 1}))  # the seed of another run, stated
    assert len(made) == 4 + 1
    keep(spec(noise={"seed": 1}, seed=7))
    assert len(made) == 4 + 1


def test_who_changes_labels_changes_his_own(folder):
    def keep():
        return kept.keep_noise(spec(), folder, lambda: noisy_labels(spec(), kept.load_subset(spec(), folder)))

    one = keep()
    labels, flipped = one.labels.copy(), one.flipped.copy()
    one.labels[:] = 0
    one.flipped[:] = True
    assert np.array_equal(keep().labels, labels)
    assert np.array_equal(keep().flipped, flipped)


def test_kept_noise_is_bounded(folder, monkeypatch):
    def keep(seed):
        data = spec(seed=seed)
        kept.keep_noise(data, folder, lambda: noisy_labels(data, kept.load_subset(data, folder)))

    keep(0)
    size = sum(kept._size(noise) for noise in kept._noise.values())
    monkeypatch.setattr(kept, "NOISE_BYTES", 3 * size)
    for seed in range(1, 6):
        keep(seed)
        keep(0)  # used again and again: stays
    assert len(kept._noise) == 3
    assert sum(kept._size(noise) for noise in kept._noise.values()) <= 3 * size
    first = next(iter(kept._noise))
    keep(5)
    assert first in kept._noise
    monkeypatch.setattr(kept, "NOISE_BYTES", 1)
    keep(9)
    assert len(kept._noise) == 1


def test_shared_data_is_used_in_place_of_the_own(folder):
    blocks = [spec(), spec(dataset={"train_subset": 200}), spec(noise={"open_set": {"from": {"name": "digits"}}})]
    own = [kept.load_subset(block, folder) for block in blocks[:2]]
    images = kept.other_images({"name": "digits"}, folder)
    shared = kept.share_data(blocks, folder)
    try:
        assert kept._own == {} == kept._others
        for block, before in zip(blocks, own, strict=False):
            now = kept.load_subset(block, folder)
            assert now is not before
            assert now.fingerprint == before.fingerprint
        assert kept.load_subset(blocks[0], folder) is kept.load_subset(blocks[0], folder)
        assert np.array_equal(kept.other_images({"name": "digits"}, folder), images)
        assert kept._own == {} == kept._others
    finally:
        kept.release(shared)
    assert kept.load_subset(blocks[0], folder).fingerprint == own[0].fingerprint
    assert len(kept._own) == 1
