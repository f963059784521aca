"""RandAugment against Pillow's operations, its draws, and as a step of a loader."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from noisybench.data.augment import check_augment, draw_augment
from noisybench.data.loader import Loader
from noisybench.data.rand_augment import GEOMETRIC, OPERATIONS, draw_rand_augment, rand_augment
from noisybench.errors import ParameterError
from noisybench.seeding import Draws
from noisybench.suite.augmentations import parse_augment

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "rand_augment.json").read_text())
IMAGE = torch.tensor(REFERENCE["image"], dtype=torch.uint8).permute(2, 0, 1)
CASES = REFERENCE["results"]


def draw(name, level, applied=1):
    return [OPERATIONS.index(name), level, applied]


@pytest.mark.parametrize("name", sorted({case["operation"] for case in CASES}))
def test_operations_are_pillows(name):
    """Whole numbers throughout: where the exact result is whole, Pillow's floating point may fall one short of it."""
    for case in (case for case in CASES if case["operation"] == name):
        theirs = torch.tensor(case["result"]).permute(2, 0, 1)
        mine = rand_augment(IMAGE[None], torch.tensor([[draw(name, case["level"])]]))[0].int()
        wrong = (mine - theirs).abs()
        assert wrong.max() <= (0 if name in GEOMETRIC else 1), case["level"]
        assert (wrong > 0).float().mean() < 0.03


def test_every_operation_has_a_reference_but_identity():
    assert {case["operation"] for case in CASES} == set(OPERATIONS) - {"identity"}


def test_a_batch_is_its_images_one_by_one_and_operations_follow_one_another():
    images = torch.randint(0, 256, (60, 3, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = draw_rand_augment(60, 2, 10, Draws(0, "augment", 0))
    before = images.clone()
    together = rand_augment(images, draws)
    assert torch.equal(images, before)
    for i in range(60):
        one = rand_augment(images[i : i + 1], draws[i : i + 1, :1])
        assert torch.equal(rand_augment(one, draws[i : i + 1, 1:])[0], together[i])


def test_what_is_not_applied_changes_nothing_and_grey_images_work():
    grey = torch.randint(0, 256, (len(OPERATIONS), 1, 8, 8), dtype=torch.uint8)
    off = torch.tensor([[draw(name, 5, 0)] for name in OPERATIONS])
    assert torch.equal(rand_augment(grey, off), grey)
    on = rand_augment(grey, torch.tensor([[draw(name, 5)] for name in OPERATIONS]))
    same = [name for name, a, b in zip(OPERATIONS, on, grey, strict=True) if torch.equal(a, b)]
    assert set(same) <= {"color", "identity", "equalize", "autocontrast"}  # grey has no colour; 64 pixels are too few
    assert {"color", "identity"} <= set(same)


def test_flat_images_stay_flat():
    flat = torch.full((len(OPERATIONS), 3, 6, 6), 77, dtype=torch.uint8)
    result = rand_augment(flat, torch.tensor([[draw(name, 3)] for name in OPERATIONS]))
    for name in ("autocontrast", "equalize", "color", "contrast", "sharpness", "identity"):
        assert (result[OPERATIONS.index(name)] == 77).all(), name


def test_draws_are_uniform():
    n = 20000
    draws = draw_rand_augment(n, 2, 10, Draws(1, "augment", 0))
    assert draws.shape == (n, 2, 3)
    for slot in range(2):
        operation, level, applied = draws[:, slot].unbind(dim=1)
        counts = Counter(operation.tolist())
        assert sorted(counts) == list(range(14))
        assert max(counts.values()) / n < 1.1 / 14
        assert sorted(set(level.tolist())) == [*range(-9, 0), *range(1, 10)]
        assert abs(applied.double().mean() - 0.5) < 0.02
    assert not torch.equal(draws[:, 0], draws[:, 1])


def test_it_is_a_step_of_a_suite_and_comes_after_crop_and_flip():
    steps = parse_augment(["crop", {"randaugment": {"operations": 1, "levels": 5}}, "flip"])
    assert steps[1] == {"name": "randaugment", "operations": 1, "levels": 5}
    draws = draw_augment(steps, 50, (3, 8, 8), 0, 3, 1)
    assert draws["randaugment"].shape == (50, 1, 3)
    assert int(draws["randaugment"][..., 1].abs().max()) == 4
    with pytest.raises(ParameterError, match="1 or 3 channels"):
        check_augment(steps, (4, 8, 8))


def test_a_loader_of_another_view_gives_the_same_images_with_draws_of_its_own():
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    common = {"seed": 3, "batch_size": 7, "mean": [0.0] * 3, "std": [1 / 255] * 3}

    def loader(steps, **more):
        return list(Loader(images, torch.arange(40), augment=steps, **common, **more).epoch(2))

    two = loader(["crop", "flip"], views=2)
    second = loader(["crop", "flip"], first_view=1)
    strong = loader(["crop", "flip", "randaugment"], first_view=1)
    for a, b, c in zip(two, second, strong, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.images[1], b.images)
        assert torch.equal(a.index, c.index)
        assert not torch.equal(b.images, c.images)
    draws = draw_augment(parse_augment(["randaugment"]), 40, (3, 8, 8), 3, 2, 1)["randaugment"]
    cropped = torch.cat([batch.images for batch in second]).round().to(torch.uint8)
    got = torch.cat([batch.images for batch in strong]).round().to(torch.uint8)
    assert torch.equal(rand_augment(cropped, draws), got)
