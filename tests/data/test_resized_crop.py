"""Windows of random size and shape, enlarged: against torch's interpolation of one window at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from noisybench.data.augment import draw_augment, transform
from noisybench.data.resized_crop import draw_windows, resized_crop
from noisybench.seeding import Draws
from noisybench.suite.augmentations import parse_augment

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (60, 3, 9, 6), dtype=np.uint8))  # not square


def drawn(n=4000, height=32, width=32, scale=0.2, ratio=4 / 3, seed=0):
    return draw_windows(n, height, width, scale, ratio, Draws(seed, "augment", 0))


def test_every_window_is_enlarged_as_torch_does():
    windows = drawn(60, 9, 6, scale=0.05, ratio=2)
    got = resized_crop(IMAGES, windows)
    assert got.dtype == torch.uint8
    for image, enlarged, (top, left, high, wide) in zip(IMAGES, got, windows.tolist(), strict=True):
        window = image[None, :, top : top + high, left : left + wide].double()
        want = interpolate(window, size=(9, 6), mode="bilinear", align_corners=False)[0]
        assert (enlarged.double() - want).abs().max() <= 0.501


def test_the_whole_image_stays_what_it_is():
    assert torch.equal(resized_crop(IMAGES, torch.tensor([[0, 0, 9, 6]]).repeat(60, 1)), IMAGES)


def test_one_pixel_fills_the_image():
    got = resized_crop(IMAGES, torch.tensor([[8, 5, 1, 1]]).repeat(60, 1))
    assert torch.equal(got, IMAGES[:, :, 8:, 5:].expand_as(IMAGES))


def test_windows_lie_inside_and_have_the_areas_and_shapes_asked_for():
    top, left, high, wide = drawn().double().unbind(dim=1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= 32).all()
    assert (left + wide <= 32).all()
    areas = high * wide / 32**2
    assert 0.18 < areas.min() < 0.22
    assert areas.max() == 1
    assert 0.5 < areas.mean() < 0.6  # uniform on [0.2, 1], but large windows that are not square do not fit
    assert drawn(ratio=1.0)[:, 2].double().pow(2).mean() / 32**2 == pytest.approx(0.6, abs=0.02)
    assert (wide / high).log().abs().max() < np.log(4 / 3) + 0.08  # rounded sides
    assert abs((wide / high).log().mean()) < 0.01
    for place, side in ((top, high), (left, wide)):
        free = side <= 20
        assert (place / (32 - side))[free].mean() == pytest.approx(0.5, abs=0.03)


def test_where_nothing_fits_the_largest_window_in_the_middle_is_taken():
    # Of a strip of 4 x 40 pixels, 90 % of the area have a ratio of 9 or more.
    windows = drawn(20, 4, 40, scale=0.9, ratio=1.5)
    assert windows.tolist() == [[0, 17, 4, 6]] * 20
    assert drawn(20, 40, 4, scale=0.9, ratio=1.5).tolist() == [[17, 0, 6, 4]] * 20


def test_it_is_a_step_of_a_list_and_keeps_its_place():
    steps = parse_augment(["flip", {"resized_crop": {"scale": 0.5}}])
    assert steps[1] == {"name": "resized_crop", "scale": 0.5, "ratio": 4 / 3}
    draws = draw_augment(steps, 60, (3, 9, 6), 1, 0, 0)
    flipped = torch.where(draws["flip"][:, None, None, None] == 1, IMAGES.flip(3), IMAGES)
    assert torch.equal(transform(IMAGES, steps, draws), resized_crop(flipped, draws["resized_crop"]))
