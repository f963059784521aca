"""Batches: every image once, per-sample draws, the same on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisybench.data import Loader, loader
from noisybench.data.augment import draw_augment, move, normalise
from noisybench.errors import DataError, ParameterError
from noisybench.seeding import Draws

N = 53
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (N, 3, 6, 5), dtype=np.uint8))
LABELS = torch.arange(N) % 10


def made(**params) -> Loader:
    given = {"seed": 0, "batch_size": 10, "augment": [], "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), **params}
    return Loader(IMAGES, LABELS, **given)


def joined(batches, what: str) -> torch.Tensor:
    return torch.cat([getattr(batch, what) for batch in batches])


def test_every_sample_once_with_its_own_image_and_label():
    batches = list(made().epoch(0))
    index = joined(batches, "index")
    assert sorted(index.tolist()) == list(range(N))
    assert torch.equal(joined(batches, "labels"), LABELS[index])
    want = (IMAGES[index].double() / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1).double()) / torch.tensor(
        [0.2, 0.3, 0.4], dtype=torch.float64
    ).view(3, 1, 1)
    torch.testing.assert_close(joined(batches, "images").double(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("n", "size", "drop_last", "want"),
    [
        (53, 10, False, [10, 10, 10, 10, 10, 3]),
        (51, 10, False, [10, 10, 10, 10, 11]),  # a batch of one joins the batch before it
        (51, 10, True, [10, 10, 10, 10, 10]),
        (50, 10, False, [10, 10, 10, 10, 10]),
        (1, 10, False, [1]),
        (3, 1, False, [1, 1, 1]),
        (7, 10, False, [7]),
    ],
)
def test_batch_sizes(n, size, drop_last, want):
    made_loader = made(index=torch.arange(n), batch_size=size, drop_last=drop_last)
    assert [len(batch.index) for batch in made_loader.epoch(0)] == want
    assert len(made_loader) == len(want)
    assert made_loader.images_per_epoch == sum(want)


def test_an_epoch_is_a_pure_function_of_its_number():
    augment = ["crop", "flip", "cutout"]
    first, again = (list(made(augment=augment).epoch(3)) for _ in range(2))
    one = made(augment=augment)
    list(one.epoch(0))
    later = list(one.epoch(3))
    for a, b, c in zip(first, again, later, strict=True):
        for what in ("index", "images", "labels"):
            assert torch.equal(getattr(a, what), getattr(b, what))
            assert torch.equal(getattr(a, what), getattr(c, what))


def test_epochs_and_seeds_differ():
    order = lambda **params: joined(made(**params).epoch(params.pop("epoch", 0)), "index").tolist()  # noqa: E731
    base = order()
    assert base != joined(made().epoch(1), "index").tolist()
    assert base != order(seed=1)


def test_the_order_never_changes():
    # The permutation of four words of Philox, worked out by Draws alone: torch's own generators have no part in it.
    want = Draws(7, "order", 2).permutation(N)
    assert joined(made(seed=7).epoch(2), "index").tolist() == want.tolist()


def test_augmentation_uses_the_draws_of_epoch_and_view():
    one = made(augment=["crop", "flip"], seed=4)
    batches = list(one.epoch(2))
    index = joined(batches, "index")
    draws = draw_augment(one.augment, N, (3, 6, 5), 4, 2, 0)
    want = normalise(move(IMAGES[index], one.augment, draws), one.mean, one.std, torch.float32)
    assert torch.equal(joined(batches, "images"), want)


def test_samples_of_a_batch_draw_apart():
    images = IMAGES[:1].repeat(N, 1, 1, 1)
    one = Loader(images, LABELS, seed=0, batch_size=N, augment=["crop"], mean=(0,) * 3, std=(1,) * 3)
    batch = next(one.epoch(0)).images
    assert len({tuple(image.flatten().tolist()) for image in batch}) > N // 2


@pytest.mark.parametrize("chunk", [1, 25, 10_000])
def test_chunks_change_nothing(monkeypatch, chunk):
    augment = ["crop", "flip", {"cutout": {"size": 2}}]
    want = list(made(augment=augment, views=2).epoch(0))
    monkeypatch.setattr(loader, "CHUNK", chunk)
    got = list(made(augment=augment, views=2).epoch(0))
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a.index, b.index)
        assert all(torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))


def test_index_and_labels_can_be_others():
    index = torch.tensor([50, 3, 7, 20])
    batches = list(
        Loader(IMAGES, LABELS + 100, seed=0, batch_size=3, augment=[], mean=(0,) * 3, std=(1,) * 3, index=index).epoch(
            0
        )
    )
    positions = joined(batches, "index")
    assert sorted(positions.tolist()) == [3, 7, 20, 50]
    assert torch.equal(joined(batches, "labels"), LABELS[positions] + 100)


def test_without_shuffling_the_order_is_that_of_the_index():
    index = torch.tensor([5, 1, 9])
    assert joined(made(index=index, shuffle=False).epoch(6), "index").tolist() == [5, 1, 9]


def test_views():
    two, one = list(made(augment=["crop", "flip"], views=2).epoch(0)), list(made(augment=["crop", "flip"]).epoch(0))
    assert isinstance(two[0].images, list)
    assert len(two[0].images) == 2
    for a, b in zip(two, one, strict=True):
        assert torch.equal(a.images[0], b.images)
        assert not torch.equal(a.images[0], a.images[1])
        assert torch.equal(a.index, b.index)


@pytest.mark.parametrize("augment", [[], ["crop", "flip"], ["cutout"]], ids=str)
def test_channels_last_changes_the_layout_only(augment):
    last = list(made(augment=augment, channels_last=True).epoch(0))
    first = list(made(augment=augment).epoch(0))
    for a, b in zip(last, first, strict=True):
        assert torch.equal(a.images, b.images)
        assert a.images.is_contiguous(memory_format=torch.channels_last)
        assert b.images.is_contiguous()


def test_cutout_erases_to_the_mean():
    one = made(augment=[{"cutout": {"size": 3}}], batch_size=N)
    batch = next(one.epoch(0))
    plain = next(made(batch_size=N).epoch(0))
    erased = (batch.images != plain.images).any(dim=1)
    assert (batch.images.permute(0, 2, 3, 1)[erased] == 0).all()
    areas = erased.flatten(1).sum(dim=1)
    assert areas.max() == 9
    assert areas.min() >= 3  # at a corner 2 x 2 pixels are left; a few may have been 0 before


def test_dtype():
    assert next(made(dtype=torch.bfloat16).epoch(0)).images.dtype == torch.bfloat16


def test_tiny_grey_images():
    images = torch.arange(64 * 20, dtype=torch.int64).remainder(256).to(torch.uint8).view(20, 1, 8, 8)
    one = Loader(images, LABELS[:20], seed=0, batch_size=8, augment=["crop", "flip"], mean=(0.1,), std=(0.2,))
    assert [tuple(b.images.shape) for b in one.epoch(0)] == [(8, 1, 8, 8), (8, 1, 8, 8), (4, 1, 8, 8)]


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="7 images make no batch of 10"):
        made(index=torch.arange(7), drop_last=True)
    with pytest.raises(DataError, match="no batch"):
        made(index=torch.empty(0, dtype=torch.int64))
    with pytest.raises(ParameterError, match="reflect padding 5 must be below the image size 5"):
        made(augment=[{"crop": {"padding": 5, "mode": "reflect"}}])
    with pytest.raises(ParameterError, match="at least 1"):
        made(batch_size=0)
    with pytest.raises(DataError, match="53 images but 3 labels"):
        Loader(IMAGES, LABELS[:3], seed=0, batch_size=2, augment=[], mean=(0,) * 3, std=(1,) * 3)


@pytest.mark.gpu
def test_a_cuda_device_gives_the_same_batches():
    augment = ["crop", "flip", "cutout"]
    on_gpu = Loader(
        IMAGES.cuda(), LABELS.cuda(), seed=0, batch_size=10, augment=augment, mean=(0.5,) * 3, std=(0.2,) * 3
    )
    on_cpu = Loader(IMAGES, LABELS, seed=0, batch_size=10, augment=augment, mean=(0.5,) * 3, std=(0.2,) * 3)
    for a, b in zip(on_gpu.epoch(1), on_cpu.epoch(1), strict=True):
        assert a.images.is_cuda
        assert a.labels.is_cuda
        assert torch.equal(a.index.cpu(), b.index)
        torch.testing.assert_close(a.images.cpu(), b.images, atol=1e-5, rtol=0)
