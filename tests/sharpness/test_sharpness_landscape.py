"""Directions, surfaces and the figure."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from noisybench.sharpness import Objective, surfaces
from noisybench.sharpness.figure import draw
from noisybench.sharpness.landscape import Surfaces, draw_direction, filter_normalised


def objective(seed: int) -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 1, 4, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (8,), generator=generator)
    return Objective(model, x, y, lambda logits, labels: cross_entropy(logits, labels, reduction="none"))


def test_filters_get_the_length_of_the_networks_own():
    """Rows of a linear layer by hand: (3, 4) of length 5 to length 10; a zero row of either stays zero."""
    weight = torch.tensor([[6.0, 8.0], [1.0, 0.0], [0.0, 0.0]])
    direction = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])
    bias = torch.tensor([5.0, 5.0, 5.0])
    scaled = filter_normalised([direction, torch.ones(3)], [weight, bias])
    torch.testing.assert_close(scaled[0], torch.tensor([[6.0, 8.0], [0.0, 0.0], [0.0, 0.0]]))
    assert scaled[1].tolist() == [0.0, 0.0, 0.0]  # biases and batch norm stay


def test_a_convolutions_filter_is_all_of_one_output_channel():
    generator = torch.Generator().manual_seed(0)
    weight, direction = (torch.randn(4, 3, 5, 5, generator=generator) for _ in range(2))
    (scaled,) = filter_normalised([direction], [weight])
    for channel in range(4):
        assert scaled[channel].norm().item() == pytest.approx(weight[channel].norm().item(), rel=1e-5)
        cosine = (scaled[channel] * direction[channel]).sum() / scaled[channel].norm() / direction[channel].norm()
        assert cosine.item() == pytest.approx(1.0, rel=1e-5)


def test_networks_of_one_architecture_share_their_draws():
    one, two = (draw_direction(objective(seed).weights, 0) for seed in (0, 1))
    for a, b in zip(one, two, strict=True):
        if a.abs().max() > 0:
            cosines = nn.functional.cosine_similarity(a.flatten(1), b.flatten(1))
            torch.testing.assert_close(cosines, torch.ones_like(cosines))
    other = draw_direction(objective(0).weights, 1)
    assert not torch.allclose(one[0], other[0])


def test_the_middle_of_a_surface_is_the_loss_and_its_edge_a_step_along_the_directions():
    there = objective(0)
    found = surfaces([("a", there), ("b", objective(1))], points=3, span=0.5)
    assert found.values.shape == (2, 3, 3)
    assert found.values[0, 1, 1] == there.value()
    one, two = (draw_direction(there.weights, axis) for axis in (0, 1))
    corner = [0.5 * a - 0.5 * b for a, b in zip(one, two, strict=True)]
    assert found.values[0, 2, 0] == pytest.approx(there.value_at(corner), rel=1e-12)
    assert found.steps.tolist() == [-0.5, 0.0, 0.5]


def test_the_figure_is_the_same_bytes_twice_and_carries_no_date():
    grid = np.linspace(-1, 1, 7)
    bowl = grid[:, None] ** 2 + 2 * grid[None] ** 2
    found = Surfaces(("a", "b"), grid, np.stack([bowl, 5 * bowl + 0.1]))
    first = draw(found, ["run a", "run b"], title="two bowls")
    assert first == draw(found, ["run a", "run b"], title="two bowls")
    assert b"<dc:date>" not in first
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert first != draw(found, ["run a", "run b"], ceiling=1.0, title="two bowls")


def test_losses_that_are_not_finite_are_cut_at_the_ceiling():
    grid = np.linspace(-1, 1, 5)
    values = np.stack([grid[:, None] ** 2 + grid[None] ** 2, np.full((5, 5), 1.0)])
    values[1, 0, 0], values[1, 4, 4] = np.inf, np.nan
    assert draw(Surfaces(("a", "b"), grid, values), ["a", "b"])
    assert draw(Surfaces(("a",), grid, np.full((1, 5, 5), 2.0)), ["flat"])
