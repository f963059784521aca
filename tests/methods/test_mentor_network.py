"""The mentor learns which losses belong to wrong labels, and when."""

from __future__ import annotations

import pytest
import torch

from noisybench.methods import curriculum
from noisybench.methods.mentor_network import Mentor, fit_mentor


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_the_networks_shape_and_its_percents_stay_frozen():
    mentor = Mentor(generator())
    shapes = {name: tuple(p.shape) for name, p in mentor.named_parameters() if p.requires_grad}
    assert shapes["label_embedding.weight"] == (2, 2)
    assert shapes["hidden.weight"] == (20, 9)  # 2 of the label, 5 of the percent, 2 of the LSTM
    assert shapes["last.weight"] == (1, 20)
    assert shapes["forward_cell.weight_ih"] == shapes["backward_cell.weight_ih"] == (4, 2)
    assert not mentor.percent_embedding.weight.requires_grad
    assert torch.equal(mentor.percent_embedding.weight, Mentor(generator()).percent_embedding.weight)
    before = mentor.percent_embedding.weight.clone()
    fit_mentor(mentor, torch.rand(50, 4, generator=generator()).round(), steps=20, generator=generator())
    assert torch.equal(mentor.percent_embedding.weight, before)


def dump(count=2000):
    """Right labels have small losses."""
    wrong = torch.rand(count, generator=generator(1)) < 0.4
    noise = torch.randn(count, generator=generator(2)).abs()
    losses = torch.where(wrong, 4 + noise, 0.4 * noise)
    threshold = 2.0
    percents = torch.randint(10, 18, (count,), generator=generator(3)).float()
    return torch.stack([losses, losses - threshold, percents, (~wrong).float()], dim=1)


def test_it_separates_small_from_large_losses():
    mentor = Mentor(generator())
    rows = dump()
    assert fit_mentor(mentor, rows, steps=300, generator=generator()) < 0.1
    with torch.no_grad():
        v = mentor(torch.tensor([0.1, 6.0]), torch.tensor([-1.9, 4.0]), torch.tensor([17, 17])).sigmoid()
    assert v[0] > 0.9
    assert v[1] < 0.1


def test_it_can_learn_the_predefined_curriculum():
    """What the authors fit it to: a grid of losses, differences and percents."""
    count = 4000
    losses = 5 * torch.rand(count, generator=generator(1))
    difference = 10 * torch.rand(count, generator=generator(2)) - 5
    percents = torch.where(torch.rand(count, generator=generator(3)) < 0.5, 10, 50)
    targets = curriculum.predefined(difference, percents)
    rows = torch.stack([losses, difference, percents.float(), targets], dim=1)
    mentor = Mentor(generator())
    fit_mentor(mentor, rows, steps=800, generator=generator())
    with torch.no_grad():
        v = mentor(losses, difference, percents).sigmoid()
    assert ((v > 0.5) == (targets > 0.5)).float().mean() > 0.97


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_a_dump_of_one_kind_is_learnt_too(target):
    mentor = Mentor(generator())
    rows = dump(50)
    rows[:, 3] = target
    assert fit_mentor(mentor, rows, steps=100, generator=generator()) < 0.2


def test_the_fit_is_reproducible():
    one, two = Mentor(generator()), Mentor(generator())
    assert fit_mentor(one, dump(), steps=50, generator=generator(5)) == fit_mentor(
        two, dump(), steps=50, generator=generator(5)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
