"""Measures of sharpness at the weights of a network. All are of the whole objective, not of mini-batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from noisybench.optim.ascent import steepest_ascent
from noisybench.optim.gradients import inner, norm
from noisybench.sharpness.objective import Objective


def sam_increase(objective: Objective, rho: float) -> float:
    """SAM's own estimate: L(w + rho g / ||g||) - L(w), g = grad L(w)  (Foret et al. 2021, eq. 2); 0 where g is 0."""
    direction = steepest_ascent(objective.gradient()).direction
    return objective.value_at(direction, rho) - objective.value()


@dataclass(frozen=True)
class Estimate:
    """A mean over draws and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: list[float]) -> Estimate:
        """From at least two draws; of one the error is NaN."""
        mean = math.fsum(values) / len(values)
        if len(values) < 2:
            return cls(mean, math.nan)
        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        return cls(mean, math.sqrt(variance / len(values)))


def random_increase(objective: Objective, rho: float, generator: torch.Generator, draws: int = 20) -> Estimate:
    """E L(w + rho u) - L(w), u uniform on the unit sphere of all weights: the average neighbour at distance rho."""
    base = objective.value()
    increases = []
    for _ in range(draws):
        u = [torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w) for w in objective.weights]
        increases.append(objective.value_at(u, rho / float(norm(u))) - base)
    return Estimate.of(increases)


def adversarial_increase(objective: Objective, rho: float, steps: int = 20) -> float:
    """max over ||e|| <= rho of L(w + e) - L(w) by projected gradient ascent; a lower bound of the true maximum.

    Starts at SAM's e = rho g / ||g||; each of ``steps`` steps adds rho / 2 along the normalised gradient and
    projects back onto the ball. The best point seen counts, w itself included, so that this is never below
    ``sam_increase`` or 0.
    """
    base = objective.value()
    e = [rho * part for part in steepest_ascent(objective.gradient()).direction]
    best = max(0.0, objective.value_at(e) - base)
    for _ in range(steps):
        direction = steepest_ascent(objective.gradient(at=e)).direction
        e = [part + 0.5 * rho * step for part, step in zip(e, direction, strict=True)]
        length = float(norm(e))
        if length > rho:
            e = [part * (rho / length) for part in e]
        best = max(best, objective.value_at(e) - base)
    return best


@dataclass(frozen=True)
class Eigenvalue:
    """``residual``: ||H v - value v|| of the unit vector found, 0 for an exact eigenvector; ``products``: the
    Hessian-vector products spent; ``converged``: the value changed by less than the tolerance at the end."""

    value: float
    residual: float
    products: int
    converged: bool


def largest_eigenvalue(
    objective: Objective, generator: torch.Generator, *, tolerance: float = 1e-4, products: int = 200
) -> Eigenvalue:
    """The algebraically largest eigenvalue of the Hessian, by power iteration.

    Power iteration finds the eigenvalue of largest size. If that one is negative, iteration goes on with H - value I,
    whose largest eigenvalue belongs to the largest of H. Stops when the Rayleigh quotient changes by less than
    ``tolerance`` relative to its size, twice running.
    """
    first = _power(objective, generator, 0.0, tolerance, products)
    if first.value >= 0 or first.products >= products:
        return first
    second = _power(objective, generator, first.value, tolerance, products - first.products)
    return Eigenvalue(second.value, second.residual, first.products + second.products, second.converged)


def _power(
    objective: Objective, generator: torch.Generator, shift: float, tolerance: float, products: int
) -> Eigenvalue:
    """Power iteration on H - shift I; ``value`` is of H."""
    v = [torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w) for w in objective.weights]
    v = _unit(v)
    value, calm, residual = math.nan, 0, math.nan
    for spent in range(1, products + 1):
        image = objective.hessian_times(v)
        previous, value = value, float(inner(v, image))
        residual = float(norm([a - value * b for a, b in zip(image, v, strict=True)]))
        calm = calm + 1 if abs(value - previous) <= tolerance * max(abs(value), 1e-12) else 0
        if calm == 2 or residual == 0:
            return Eigenvalue(value, residual, spent, True)
        v = _unit([a - shift * b for a, b in zip(image, v, strict=True)])
    return Eigenvalue(value, residual, products, False)


def _unit(v: list[Tensor]) -> list[Tensor]:
    length = norm(v)
    length = torch.where(length > 0, length, torch.ones_like(length))
    return [part / length for part in v]


def trace(objective: Objective, generator: torch.Generator, probes: int = 50) -> Estimate:
    """tr H = E <z, H z>, z of independent +-1 entries  (Hutchinson 1990); mean and standard error over ``probes``."""
    values = []
    for _ in range(probes):
        z = [2.0 * torch.randint(2, w.shape, generator=generator).to(w) - 1.0 for w in objective.weights]
        values.append(float(inner(z, objective.hessian_times(z))))
    return Estimate.of(values)
