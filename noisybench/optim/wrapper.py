"""Optimisers around an optimiser: they share its parameter groups and state and decide what gradient it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

Closure = Callable[..., Any]


def run(closure: Closure) -> Any:
    """Run a closure with gradients on; returns its loss, detached."""
    with torch.enable_grad():
        loss = closure()
    return loss.detach() if isinstance(loss, Tensor) else loss


class Wrapper(torch.optim.Optimizer):
    """An optimiser that owns a base optimiser and shares ``param_groups``, ``state`` and ``state_dict`` with it.

    Learning-rate schedulers, and whoever writes ``group["lr"]``, act on the base. ``base`` is called as
    ``base(params, **base_params)``; ``defaults`` are per-group options of the wrapper (SAM's ``rho``). ``models`` are
    the networks whose batch norms a second pass must leave alone. ``max_grad_norm`` clips the global L2 norm of the
    gradient the base optimiser gets, and no other.
    """

    gradient_passes = 1
    """Forward-backward passes of the last step."""

    def __init__(
        self,
        params: Any,
        base: Callable[..., torch.optim.Optimizer],
        base_params: dict[str, Any],
        *,
        defaults: dict[str, Any] | None = None,
        models: Sequence[nn.Module] = (),
        max_grad_norm: float | None = None,
    ) -> None:
        self.base: torch.optim.Optimizer | None = None
        inner = base(params, **base_params)
        self.own_defaults = dict(defaults or {})
        super().__init__(inner.param_groups, {**inner.defaults, **self.own_defaults})
        self.base = inner
        self.models, self.max_grad_norm = list(models), max_grad_norm
        self._share()

    def _share(self) -> None:
        assert self.base is not None
        self.param_groups, self.state = self.base.param_groups, self.base.state
        for group in self.param_groups:  # a state saved by the bare base has none of the wrapper's options
            for key, default in self.own_defaults.items():
                group.setdefault(key, default)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimiser, with the wrapper's own per-group options."""
        if self.base is None:  # while torch's constructor runs
            super().add_param_group(param_group)
            return
        for key, default in self.defaults.items():
            param_group.setdefault(key, default)
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The base optimiser's state; a wrapper keeps none of its own between steps."""
        assert self.base is not None
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict()``, bit for bit."""
        assert self.base is not None
        self.base.load_state_dict(state_dict)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def weights(self) -> list[Tensor]:
        """All parameters, group by group."""
        return [weight for group in self.param_groups for weight in group["params"]]

    def clip(self) -> None:
        """Scale the gradients in place to a global L2 norm of at most ``max_grad_norm``."""
        if self.max_grad_norm is not None:
            clip_grad_norm_(self.weights(), self.max_grad_norm)


class OnePass(Wrapper):
    """A plain optimiser: the base's own step on the gradient of the batch, clipped."""

    def __init__(
        self,
        params: Any,
        base: Callable[..., torch.optim.Optimizer],
        *,
        max_grad_norm: float | None = None,
        **base_params: Any,
    ) -> None:
        super().__init__(params, base, base_params, max_grad_norm=max_grad_norm)

    def step(self, closure: Closure | None = None) -> Any:
        """One step; without a closure on the gradients that are there."""
        assert self.base is not None
        loss = run(closure) if closure is not None else None
        self.clip()
        self.base.step()
        return loss
