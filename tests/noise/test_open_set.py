"""Open-set noise: which images are replaced, by what, and in which shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisybench.errors import DataError
from noisybench.noise.open_set import in_shape, present, replace_images


def numbered(n: int, offset: int = 0, shape: tuple[int, int, int] = (1, 2, 2)) -> np.ndarray:
    """Image i is filled with the value i + offset."""
    values = (np.arange(n) + offset).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (n, *shape)).copy()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 100), m=st.integers(1, 120), rate=st.floats(0, 1), seed=st.integers(0, 5))
def test_exactly_the_rate_is_replaced_and_nothing_else_moves(n: int, m: int, rate: float, seed: int) -> None:
    images, others = numbered(n), numbered(m, 120)
    before = images.copy()
    made = replace_images(images, others, rate=rate, seed=seed)
    assert abs(made.mask.sum() - rate * n) <= 0.5 + 1e-9
    assert (images == before).all()
    assert (made.images[~made.mask] == images[~made.mask]).all()
    used = np.bincount(made.images[made.mask][:, 0, 0, 0] - 120, minlength=m) if made.mask.any() else np.zeros(m)
    assert used.sum() == made.mask.sum()
    assert used.max() - used.min() <= 1  # none twice before all once
    assert made.share == pytest.approx(made.mask.mean())
    assert (made.sha256 is None) == (not made.mask.any())


def test_a_higher_rate_replaces_what_a_lower_one_does_and_more() -> None:
    images, others = numbered(100), numbered(100, 120)
    low = replace_images(images, others, rate=0.2, seed=3)
    high = replace_images(images, others, rate=0.5, seed=3)
    assert high.mask[low.mask].all()
    assert (high.images[low.mask] == low.images[low.mask]).all()
    again = replace_images(images, others, rate=0.2, seed=3)
    assert again.sha256 == low.sha256 != replace_images(images, others, rate=0.2, seed=4).sha256


def test_images_that_were_open_set_before_still_are() -> None:
    already = np.arange(10) < 3
    made = replace_images(numbered(10), numbered(10, 120), rate=0.2, seed=0, already=already)
    assert made.mask[:3].all()
    assert 3 <= made.mask.sum() <= 5
    assert present(numbered(10), already).share == pytest.approx(0.3)
    assert present(numbered(10), np.zeros(10, bool)).sha256 is None


def test_grey_becomes_colour_and_colour_grey() -> None:
    grey = numbered(3)
    colour = in_shape(grey, (3, 2, 2))
    assert colour.shape == (3, 3, 2, 2)
    assert (colour == grey).all()
    red = np.zeros((1, 3, 2, 2), np.uint8)
    red[:, 0] = 200
    assert (in_shape(red, (1, 2, 2)) == 60).all()  # 0.299 * 200 = 59.8
    with pytest.raises(DataError, match="4 channels"):
        in_shape(np.zeros((1, 4, 2, 2), np.uint8), (3, 2, 2))


def test_sizes_are_brought_together() -> None:
    flat = np.full((2, 3, 8, 8), 77, np.uint8)
    assert (in_shape(flat, (3, 32, 32)) == 77).all()
    assert (in_shape(flat, (3, 4, 5)) == 77).all()
    halves = np.concatenate([np.zeros((1, 1, 4, 2), np.uint8), np.full((1, 1, 4, 2), 100, np.uint8)], axis=3)
    small = in_shape(halves, (1, 4, 1))
    assert (small == 50).all()  # the mean of a row
    assert in_shape(flat, (3, 8, 8)) is flat
