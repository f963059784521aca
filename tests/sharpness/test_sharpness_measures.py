"""Sharpness of functions whose sharpness is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from noisybench.sharpness import (
    Objective,
    adversarial_increase,
    largest_eigenvalue,
    random_increase,
    sam_increase,
    trace,
)
from noisybench.sharpness.measures import Estimate


class Quadratic(nn.Module):
    """L(w) = 1/2 w A w, whatever the images are."""

    def __init__(self, a: list[list[float]], w: list[float]) -> None:
        super().__init__()
        self.a = torch.tensor(a, dtype=torch.float64)
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x):
        return (0.5 * self.w @ self.a @ self.w).expand(len(x))


def quadratic(a, w) -> Objective:
    images, labels = torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64)
    return Objective(Quadratic(a, w), images, labels, lambda values, labels: values, chunk=2)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def small_network() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4)).double()
    draw = generator()
    return model, torch.randn(11, 3, generator=draw, dtype=torch.float64), torch.randint(4, (11,), generator=draw)


def per_image(logits, labels):
    return cross_entropy(logits, labels, reduction="none")


MATRIX = [[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, -1.0]]  # eigenvalues 3, 1, -1


def test_the_largest_eigenvalue_of_a_known_matrix():
    found = largest_eigenvalue(quadratic(MATRIX, [1.0, 2.0, 3.0]), generator(), tolerance=1e-10)
    assert found.value == pytest.approx(3.0, rel=1e-8)
    assert found.residual < 1e-3
    assert found.converged


def test_a_larger_negative_eigenvalue_does_not_hide_the_largest():
    """Eigenvalues 2, 1 and -7."""
    found = largest_eigenvalue(
        quadratic([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -7.0]], [1.0, 1.0, 1.0]), generator(), tolerance=1e-10
    )
    assert found.value == pytest.approx(2.0, rel=1e-6)


def test_too_few_products_are_said_to_be_too_few():
    found = largest_eigenvalue(quadratic(MATRIX, [1.0, 2.0, 3.0]), generator(), tolerance=1e-12, products=3)
    assert not found.converged
    assert found.products == 3


def test_of_a_constant_the_eigenvalue_is_zero():
    found = largest_eigenvalue(quadratic([[0.0]], [1.0]), generator())
    assert (found.value, found.converged) == (0.0, True)


def test_the_trace_is_exact_for_a_diagonal_matrix_and_near_for_another():
    diagonal = trace(quadratic([[2.0, 0.0], [0.0, -5.0]], [1.0, 1.0]), generator(), probes=4)
    assert (diagonal.mean, diagonal.error) == (-3.0, 0.0)  # z z = 1 in every entry
    full = trace(quadratic(MATRIX, [1.0, 1.0, 1.0]), generator(), probes=2000)
    assert full.mean == pytest.approx(3.0, abs=4 * full.error)
    assert full.error == pytest.approx(2 / math.sqrt(2000), rel=0.05)  # <z, A z> = 3 + 2 z1 z2, of variance 4


def test_sam_increase_by_hand():
    """A = diag(1, 2), w = (3, 2): g = (3, 4), e = 0.5 (0.6, 0.8): <g, e> + 1/2 e A e = 2.5 + 0.045 + 0.16."""
    objective = quadratic([[1.0, 0.0], [0.0, 2.0]], [3.0, 2.0])
    assert sam_increase(objective, 0.5) == pytest.approx(2.705, rel=1e-12)
    assert sam_increase(quadratic([[1.0]], [0.0]), 0.5) == 0.0


def test_the_adversarial_increase_is_the_maximum_on_the_ball():
    """Near the minimum of a narrow valley, where the gradient does not point along it; against a fine scan."""
    objective = quadratic([[1.0, 0.0], [0.0, 9.0]], [0.3, 0.01])
    rho = 0.5
    angle = torch.linspace(0, 2 * math.pi, 100001, dtype=torch.float64)
    e = rho * torch.stack([angle.cos(), angle.sin()])
    a, w = torch.tensor([[1.0], [9.0]]).double(), torch.tensor([[0.3], [0.01]]).double()
    best = (0.5 * (a * (w + e) ** 2).sum(dim=0) - 0.5 * (a * w**2).sum()).max().item()
    found = adversarial_increase(objective, rho)
    assert found == pytest.approx(best, rel=1e-4)
    assert found <= best + 1e-12
    assert found > 1.5 * sam_increase(objective, rho)


def test_the_random_increase_averages_the_curvature():
    """At a minimum E L(rho u) - L = rho^2 tr A / (2 n)."""
    found = random_increase(quadratic([[1.0, 0.0], [0.0, 3.0]], [0.0, 0.0]), 0.2, generator(), draws=2000)
    assert found.mean == pytest.approx(0.04 * 4 / 4, abs=4 * found.error)
    assert 0 < found.error < 0.001


def test_estimates_by_hand():
    assert Estimate.of([1.0, 3.0]) == Estimate(2.0, 1.0)  # variance 2 over 2 draws
    assert math.isnan(Estimate.of([1.0]).error)


def test_chunks_make_no_difference_and_agree_with_autograd():
    model, x, y = small_network()
    whole, parts = (Objective(model, x, y, per_image, chunk=size) for size in (100, 4))
    loss = cross_entropy(model(x), y)
    assert parts.value() == pytest.approx(loss.item(), rel=1e-13)
    for ours, autograds in zip(parts.gradient(), torch.autograd.grad(loss, whole.weights), strict=True):
        torch.testing.assert_close(ours, autograds, rtol=1e-11, atol=1e-14)
    v = [torch.ones_like(weight) for weight in whole.weights]
    h = 1e-6
    numeric = [
        (up - down) / (2 * h)
        for up, down in zip(
            whole.gradient([h * part for part in v]), whole.gradient([-h * part for part in v]), strict=True
        )
    ]
    for one, two, three in zip(whole.hessian_times(v), parts.hessian_times(v), numeric, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-8)


def test_looking_changes_nothing():
    model, x, y = small_network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objective = Objective(model, x, y, per_image)
    sam_increase(objective, 0.3)
    random_increase(objective, 0.3, generator(), draws=3)
    adversarial_increase(objective, 0.3, steps=3)
    largest_eigenvalue(objective, generator(), products=5)
    trace(objective, generator(), probes=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_an_error_inside_leaves_the_weights_alone():
    model, x, y = small_network()
    before = [weight.detach().clone() for weight in model.parameters()]

    def broken(logits, labels):
        raise RuntimeError("out of memory")

    objective = Objective(model, x, y, broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        objective.value_at([torch.ones_like(weight) for weight in before])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
