"""Small networks and the whole closure protocol, for tests that loop over the wrappers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from noisybench import registry

WRAPPERS = [c.name for c in registry.components("optimizer") if c.traits.get("wraps")]


def network(norm: bool = True, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Two layers, with or without batch norm; the same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        middle = [nn.BatchNorm1d(8)] if norm else []
        return nn.Sequential(nn.Linear(3, 8), *middle, nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def data(size: int = 16, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, 3, generator=generator, dtype=dtype), torch.randint(2, (size,), generator=generator)


def closure_of(model: nn.Module, x: Tensor, y: Tensor, log: list | None = None, fail_at: int | None = None):
    """A closure that logs the weights of every pass, and raises in pass ``fail_at``."""
    calls = 0

    def closure(create_graph: bool = False, *, rows=None, per_image: bool = False, backward: bool = True) -> Tensor:
        nonlocal calls
        if log is not None:
            log.append(flat(model))
        calls += 1
        if calls == fail_at:
            raise RuntimeError("out of memory")
        rows = torch.arange(len(y)) if rows is None else rows
        losses = cross_entropy(model(x[rows]), y[rows], reduction="none")
        if not backward:
            return losses.detach()
        model.zero_grad(set_to_none=True)
        if create_graph:
            return losses.mean()
        losses.mean().backward()
        return losses.detach() if per_image else losses.mean().detach()

    return closure


def flat(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().reshape(-1) for weight in model.parameters()])
