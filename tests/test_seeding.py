"""Seeds by purpose and streams that never change."""

import numpy as np
import pytest

from noisybench.seeding import Draws, derive, torch_generator

PINNED_WORDS = [2322240483951314053, 5863015770318538493, 11003080732226136120]
PINNED_SEED = 4531411397546454600


def test_every_argument_makes_another_seed():
    seeds = {derive(s, p, *i) for s in (0, 1) for p in ("init", "order") for i in ((), (0,), (1,), (0, 1))}
    assert len(seeds) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_first_words_of_a_stream_are_pinned():
    """Philox-4x64 keyed with the first 16 bytes of SHA-256("noisybench/0/noise"): written down once, for ever."""
    assert Draws(0, "noise").words(3).tolist() == PINNED_WORDS
    assert derive(0, "init", 0) == PINNED_SEED


def test_uniforms_are_the_top_53_bits():
    words, uniforms = Draws(3, "noise").words(1000), Draws(3, "noise").uniforms(1000)
    assert np.array_equal(uniforms, [(int(w) >> 11) / 2**53 for w in words])
    assert 0 <= uniforms.min() < 0.01
    assert 0.99 < uniforms.max() < 1


@pytest.mark.parametrize("high", [1, 2, 10])
def test_integers_cover_their_range_evenly(high):
    counts = np.bincount(Draws(1, "noise").integers(20_000, high), minlength=high)
    assert len(counts) == high
    assert abs(counts - 20_000 / high).max() < 5 * np.sqrt(20_000 / high)


def test_integers_take_a_bound_per_draw():
    high = np.array([1, 2, 3] * 1000)
    drawn = Draws(0, "noise").integers(3000, high)
    assert (drawn < high).all()
    assert set(drawn[2::3]) == {0, 1, 2}


def test_choose_takes_the_smallest_keys_without_replacement():
    keys = Draws(5, "noise").words(50)
    chosen = Draws(5, "noise").choose(50, 20)
    assert len(set(chosen.tolist())) == 20
    assert sorted(chosen.tolist()) == chosen.tolist()
    assert max(keys[chosen]) < min(np.delete(keys, chosen))


def test_choose_within_takes_the_smallest_keys_of_each_group():
    groups, quotas = np.arange(60) % 3, np.array([4, 0, 20])
    keys = Draws(5, "noise").words(60)
    chosen = Draws(5, "noise").choose_within(groups, quotas)
    want = [i for g in range(3) for i in sorted(np.flatnonzero(groups == g), key=lambda i: keys[i])[: quotas[g]]]
    assert chosen.tolist() == sorted(want)


def test_torch_generator_depends_on_its_name_only():
    import torch

    draw = lambda *name: torch.rand(4, generator=torch_generator(*name)).tolist()  # noqa: E731
    assert draw(0, "augment", 1) == draw(0, "augment", 1)
    assert draw(0, "augment", 1) != draw(0, "augment", 2)
    assert draw(0, "augment", 1) != draw(0, "order", 1)


def test_choose_takes_ties_by_index(monkeypatch):
    monkeypatch.setattr(Draws, "words", lambda self, n: np.array([7, 3, 7, 7, 1], np.uint64)[:n])
    assert Draws(0, "noise").choose(5, 3).tolist() == [0, 1, 4]
    assert Draws(0, "noise").choose_within(np.zeros(5, int), np.array([4])).tolist() == [0, 1, 2, 4]
    assert Draws(0, "noise").choose(5, 0).tolist() == []
    assert Draws(0, "noise").choose(5, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("groups", [1, 3, 50, 70_000])
def test_assign_within_follows_the_order_of_the_keys(groups):
    of = np.random.default_rng(0).integers(0, groups, 5000)
    sizes = np.bincount(of, minlength=groups)
    counts = np.stack([sizes // 3, sizes - sizes // 3 - sizes // 5, sizes // 5], axis=1)
    keys = Draws(5, "noise").words(5000)
    got = Draws(5, "noise").assign_within(of, counts, np.array([10, 20, 30]))
    want = np.empty(5000, int)
    order = sorted(range(5000), key=lambda i: (of[i], keys[i], i))
    want[order] = np.repeat(np.tile([10, 20, 30], groups), counts.ravel())
    assert (got == want).all()


def test_normals_are_normal():
    drawn = Draws(0, "noise").normals(200_000)
    assert abs(drawn.mean()) < 5 / 200_000**0.5
    assert abs(drawn.std() - 1) < 5 * (0.5 / 200_000) ** 0.5
    assert np.isfinite(drawn).all()
    assert np.mean(np.abs(drawn) < 1.959963984540054) == pytest.approx(0.95, abs=0.0025)


def test_children_have_streams_of_their_own():
    parent = Draws(3, "noise", 1)
    assert (parent.child("step", 2).words(5) == Draws(3, "noise", 1, "step", 2).words(5)).all()
    assert (parent.words(5) == Draws(3, "noise", 1).words(5)).all()
