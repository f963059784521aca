"""Colour jitter and grey, against one pixel at a time with Python's colorsys."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from noisybench.data import Loader
from noisybench.data.augment import draw_augment, transform
from noisybench.data.colour import draw_jitter, grey, greyed, hue_turned, jittered
from noisybench.errors import ParameterError
from noisybench.seeding import Draws
from noisybench.suite.augmentations import parse_augment

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 3, 4, 5), dtype=np.uint8))


def one_by_one(image: np.ndarray, changes: list[float], order: list[int]) -> np.ndarray:
    x = image.astype(np.float64)
    for which in order:
        own = np.tensordot([0.299, 0.587, 0.114], x, axes=1)[None]
        if which < 3:
            middle = [0 * own, np.full_like(own, own.mean()), own][which]
            x = np.clip(changes[which] * x + (1 - changes[which]) * middle, 0, 255)
        else:
            for at in np.ndindex(x.shape[1:]):
                hue, saturation, value = colorsys.rgb_to_hsv(*x[(slice(None), *at)] / 255)
                x[(slice(None), *at)] = np.multiply(255, colorsys.hsv_to_rgb((hue + changes[3]) % 1, saturation, value))
    return x


def test_jitter_equals_one_image_at_a_time_in_its_own_order():
    draws = draw_jitter(40, [0.9, 0.9, 0.9, 0.5], 1.0, Draws(0, "augment", 0))
    got = jittered(IMAGES, draws)
    assert got.dtype == torch.uint8
    for image, after, row in zip(IMAGES.numpy(), got.numpy(), draws.double().tolist(), strict=True):
        want = one_by_one(image, row[:4], [int(which) for which in row[4:]])
        assert np.abs(after - want).max() <= 0.51


def test_what_is_not_drawn_changes_nothing():
    draws = draw_jitter(40, [0.4, 0.4, 0.4, 0.1], 0.0, Draws(0, "augment", 0))
    assert draws[:, :4].tolist() == [[1.0, 1.0, 1.0, 0.0]] * 40
    assert torch.equal(jittered(IMAGES, draws), IMAGES)


def test_draws_of_the_jitter_cover_their_ranges_and_orders():
    draws = draw_jitter(6000, [0.4, 0.2, 0.0, 0.1], 0.8, Draws(3, "augment", 0)).double()
    changed = draws[:, 3] != 0
    assert changed.double().mean() == pytest.approx(0.8, abs=0.02)
    for column, (middle, strength) in enumerate([(1, 0.4), (1, 0.2), (1, 0.0), (0, 0.1)]):
        values = draws[changed, column] - middle
        assert values.abs().max() == pytest.approx(strength, abs=0.002)
        assert values.mean() == pytest.approx(0, abs=0.02)
        assert values.std() == pytest.approx(strength / 3**0.5, abs=0.01)
    orders, counts = draws[:, 4:].unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert orders.sort(dim=1).values.unique(dim=0).tolist() == [[0, 1, 2, 3]]
    assert (counts - 250).abs().max() < 5 * 250**0.5


def test_hues_go_round_and_grey_has_none():
    red, grey_pixel = torch.tensor([200.0, 0.0, 0.0]), torch.tensor([70.0, 70.0, 70.0])
    pixels = torch.stack([red, red, red, grey_pixel]).view(4, 3, 1, 1)
    got = hue_turned(pixels, torch.tensor([1 / 3, -1 / 3, 0.5, 0.2]))[:, :, 0, 0]
    want = torch.tensor([[0.0, 200, 0], [0, 0, 200], [0, 200, 200], [70, 70, 70]])
    torch.testing.assert_close(got, want, atol=1e-3, rtol=0)


def test_grey_images_are_jittered_in_brightness_and_contrast_alone():
    one = IMAGES[:, :1]
    draws = draw_jitter(40, [0.4, 0.4, 0.4, 0.5], 1.0, Draws(0, "augment", 0))
    three = jittered(one.repeat(1, 3, 1, 1), draws)
    assert (three.int() - jittered(one, draws).int()).abs().max() <= 1


def test_grey():
    pixels = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], dtype=torch.uint8).view(4, 3, 1, 1)
    torch.testing.assert_close(grey(pixels).flatten(), torch.tensor([76.245, 149.685, 29.07, 9.0]))
    got = greyed(pixels, torch.tensor([1, 0, 1, 1]))
    assert got[:, :, 0, 0].tolist() == [[76] * 3, [0, 255, 0], [29] * 3, [9] * 3]
    assert torch.equal(greyed(pixels[:, :1], torch.ones(4)), pixels[:, :1])


def test_they_are_steps_of_a_list_in_its_order():
    changing = {"color_jitter": {"probability": 1, "contrast": 1}}
    first, last = parse_augment([changing, "crop"]), parse_augment(["crop", changing])
    draws = draw_augment(first, 40, (3, 4, 5), 1, 0, 0)
    again = draw_augment(last, 40, (3, 4, 5), 1, 0, 0)
    assert all(torch.equal(draws[name], again[name]) for name in draws)
    assert not torch.equal(transform(IMAGES, first, draws), transform(IMAGES, last, draws))  # black borders, other mean
    cropped = transform(IMAGES, parse_augment(["crop"]), draws)
    assert torch.equal(transform(IMAGES, last, draws), jittered(cropped, draws["color_jitter"]))


def test_a_share_of_the_images_turns_grey():
    steps = parse_augment(["grayscale"])
    assert steps == [{"name": "grayscale", "probability": 0.2}]
    draws = draw_augment(steps, 5000, (3, 4, 5), 1, 0, 0)["grayscale"]
    assert draws.double().mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", ["color_jitter", "grayscale"])
def test_other_numbers_of_channels_are_refused(name):
    with pytest.raises(ParameterError, match="1 or 3 channels, not 2"):
        Loader(IMAGES[:, :2], torch.zeros(40), seed=0, batch_size=10, augment=[name], mean=(0.5,) * 2, std=(0.5,) * 2)


@pytest.mark.parametrize(
    ("step", "key", "message"),
    [
        ({"color_jitter": {"hue": 0.6}}, "0.hue", "less than or equal to 0.5"),
        ({"color_jitter": {"brightnes": 0.6}}, "0.brightnes", "did you mean 'brightness'"),
        ({"grayscale": {"probability": 1.5}}, "0.probability", "less than or equal to 1"),
        ({"resized_crop": {"scale": 0.0}}, "0.scale", "greater than 0"),
        ({"resized_crop": {"ratio": 0.5}}, "0.ratio", "greater than or equal to 1"),
    ],
)
def test_a_slip_is_named(step, key, message):
    with pytest.raises(ParameterError, match=message) as caught:
        parse_augment([step])
    assert caught.value.key == key


def test_a_loader_gives_them_in_every_view():
    augment = ["resized_crop", "flip", "color_jitter", "grayscale"]
    one = Loader(
        IMAGES, torch.zeros(40), seed=0, batch_size=13, augment=augment, mean=(0.5,) * 3, std=(0.2,) * 3, views=2
    )
    batch, again = next(one.epoch(1)), next(one.epoch(1))
    assert not torch.equal(batch.images[0], batch.images[1])
    assert all(torch.equal(a, b) for a, b in zip(batch.images, again.images, strict=True))
