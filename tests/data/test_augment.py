"""Augmentation against a reference that treats one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisybench.data.augment import cut_out, draw_augment, move, normalise
from noisybench.errors import ParameterError
from noisybench.suite.augmentations import parse_augment

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 3, 7, 5), dtype=np.uint8))  # not square


def one_by_one(images: torch.Tensor, augment: list, draws: dict) -> torch.Tensor:
    out = []
    for i, image in enumerate(images.numpy()):
        for step in augment:
            if step["name"] == "flip" and draws["flip"][i]:
                image = image[:, :, ::-1]
            if step["name"] == "crop":
                pad, (down, right) = step["padding"], draws["crop"][i].tolist()
                mode = {"zero": "constant", "reflect": "reflect"}[step["mode"]]
                padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode=mode)
                image = padded[:, down : down + image.shape[1], right : right + image.shape[2]]
        out.append(torch.from_numpy(image.copy()))
    return torch.stack(out)


@pytest.mark.parametrize(
    "augment",
    [
        [],
        ["flip"],
        ["crop"],
        ["crop", "flip"],
        ["flip", "crop"],
        [{"crop": {"padding": 1}}],
        [{"crop": {"padding": 9}}, "flip"],
        [{"crop": {"mode": "reflect"}}],
        ["flip", {"crop": {"padding": 3, "mode": "reflect"}}],
    ],
    ids=str,
)
def test_crop_and_flip_equal_the_reference(augment):
    steps = parse_augment(augment)
    draws = draw_augment(steps, len(IMAGES), (3, 7, 5), 0, 3)
    got = move(IMAGES, steps, draws)
    assert got.dtype == torch.uint8
    assert torch.equal(got, one_by_one(IMAGES, steps, draws))


def test_augmentation_leaves_its_input_alone():
    before = IMAGES.clone()
    steps = parse_augment(["crop", "flip"])
    move(IMAGES, steps, draw_augment(steps, len(IMAGES), (3, 7, 5), 0))
    assert torch.equal(IMAGES, before)


def test_grey_images_can_be_cropped():
    steps = parse_augment([{"crop": {"padding": 1}}])
    draws = {"crop": torch.tensor([[0, 2], [1, 1]])}
    images = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3).repeat(2, 1, 1, 1)
    got = move(images, steps, draws)
    assert got[0, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]  # up by one and to the right by one
    assert got[1, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_draws_cover_every_offset_and_differ_between_samples():
    steps = parse_augment(["crop", "flip", {"cutout": {"size": 2}}])
    draws = draw_augment(steps, 5000, (3, 7, 5), 1, 0, 0)
    for axis in (0, 1):
        counts = np.bincount(draws["crop"][:, axis], minlength=9)
        assert len(counts) == 9
        assert (abs(counts - 5000 / 9) < 5 * (5000 / 9) ** 0.5).all()
    assert 0.45 < draws["flip"].double().mean() < 0.55
    assert sorted(set(draws["cutout"][:, 0].tolist())) == list(range(7))
    assert sorted(set(draws["cutout"][:, 1].tolist())) == list(range(5))


def test_draws_of_a_step_do_not_depend_on_the_other_steps():
    alone, together = (draw_augment(parse_augment(a), 50, (3, 7, 5), 1, 2, 0) for a in (["flip"], ["crop", "flip"]))
    assert torch.equal(alone["flip"], together["flip"])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 20])
def test_cutout_equals_the_reference(size):
    images = torch.ones(6, 2, 7, 5)
    centres = torch.tensor([[0, 0], [6, 4], [3, 2], [1, 3], [6, 0], [2, 2]])
    want = images.clone()
    for image, (y, x) in zip(want, centres.tolist(), strict=True):
        top, left = y - size // 2, x - size // 2
        image[:, max(top, 0) : top + size, max(left, 0) : left + size] = 0
    assert torch.equal(cut_out(images, size, centres), want)


def test_normalise():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    got = normalise(images, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0), torch.float32)
    torch.testing.assert_close(got.flatten(), torch.tensor([-1.0, 0.0, 0.5]), atol=1e-6, rtol=0)
    grey = normalise(images.view(3, 1, 1, 1), (0.2,), (0.4,), torch.float32)
    torch.testing.assert_close(grey.flatten(), torch.tensor([-0.5, 0.0, 2.0]), atol=1e-6, rtol=0)
    assert normalise(images, (0.5,) * 3, (0.5,) * 3, torch.bfloat16).dtype == torch.bfloat16


def test_parse_writes_everything_out_and_reads_it_back():
    want = [
        {"name": "crop", "padding": 2, "mode": "reflect"},
        {"name": "flip"},
        {"name": "cutout", "size": 16},
    ]
    got = parse_augment([{"crop": {"padding": 2, "mode": "reflect"}}, "flip", {"cutout": None}])
    assert got == want
    assert parse_augment(got) == want
    assert parse_augment(["crop"]) == [{"name": "crop", "padding": 4, "mode": "zero"}]


@pytest.mark.parametrize(
    ("augment", "key", "message"),
    [
        ("crop", "", "must be a list"),
        ({"crop": {}}, "", "must be a list"),
        (["flip", "crob"], "1", "no augmentation 'crob'; did you mean 'crop'"),
        (["flip", "flip"], "1", "listed twice"),
        ([{"crop": {"paddin": 4}}], "0.paddin", "did you mean 'padding'"),
        ([{"crop": {"padding": 0}}], "0.padding", "greater than or equal to 1"),
        ([{"crop": {"padding": 4.5}}], "0.padding", "integer"),
        ([{"crop": {"mode": "wrap"}}], "0.mode", "'zero' or 'reflect'"),
        ([{"flip": {"p": 0.5}}], "0.p", "takes no parameters"),
        ([{"crop": {}, "flip": {}}], "0", "must be a name or"),
        ([["crop"]], "0", "must be a name or"),
        ([None], "0", "must be a name or"),
        ([{"crop": 4}], "0", "must be a name or"),
    ],
)
def test_parse_says_what_is_wrong(augment, key, message):
    with pytest.raises(ParameterError, match=message) as caught:
        parse_augment(augment)
    assert caught.value.key == key
