"""What a repeated pass must leave as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from noisybench.optim.passes import Draws, copies, norms_with_statistics, restored, still_statistics


def test_copies_keep_values_and_strides():
    tensor = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    (copy,) = copies([tensor])
    assert torch.equal(copy, tensor)
    assert copy.stride() == tensor.stride()
    assert copy.data_ptr() != tensor.data_ptr()
    assert copies([]) == []


def test_restored_puts_values_back_also_after_an_error():
    tensors = [torch.ones(3), torch.tensor(2)]

    def spoil():
        with restored(tensors):
            tensors[0].fill_(float("nan"))
            tensors[1].zero_()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        spoil()
    assert tensors[0].tolist() == [1, 1, 1]
    assert tensors[1].item() == 2


def test_statistics_survive_a_batch_that_is_not_finite():
    norm = nn.BatchNorm2d(2)
    norm(torch.randn(4, 2, 3, 3))
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    with still_statistics(norms_with_statistics([norm])):
        norm(torch.full((4, 2, 3, 3), float("inf")))
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


def test_finds_every_layer_with_running_statistics_once():
    shared = nn.BatchNorm1d(3)
    one = nn.Sequential(shared, nn.BatchNorm2d(2, track_running_stats=False), nn.LayerNorm(3))
    two = nn.Sequential(shared, nn.InstanceNorm2d(2, track_running_stats=True))
    assert norms_with_statistics([one, two]) == [shared, two[1]]


def test_draws_repeat_and_the_stream_goes_on():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = Draws([torch.zeros(1)])
        first = torch.rand(3)
        with draws.repeated():
            assert torch.equal(torch.rand(3), first)
            torch.rand(100)
        second = torch.rand(3)
        torch.manual_seed(0)
        torch.rand(3)
        assert torch.equal(torch.rand(3), second)
