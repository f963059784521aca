"""Optimisers around an optimiser: they share its parameter groups and state and decide what gradient it gets."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

Closure = Callable[..., Any]
Schedule = Literal["constant", "linear", "cosine", "lr"]
"""How a wrapper's option changes over training; see ``Wrapper.scheduled``."""


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

    What a wrapper remembers between steps lies in ``count`` (steps begun) and ``memory`` (tensors per parameter); both
    travel in ``state_dict``.
    """

    gradient_passes = 1
    """Forward-backward passes of the last step."""
    capturable = True
    """A step is the same kernels whenever ``kind`` is the same, and draws nothing."""
    m: int | None = None
    """Images of a micro-batch: whoever builds closures hands ``step(closures=[...])`` one for each."""

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
        self.count = 0
        self.memory: dict[Tensor, dict[str, Tensor]] = {}
        self._rates: list[Tensor] = []
        self._released: list[dict[str, Any]] = []  # what held groups had before
        self.set_progress(0.0, 1.0)
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

    # -- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The base optimiser's state, and under ``wrapper`` what the wrapper itself remembers, if it does."""
        assert self.base is not None
        state = self.base.state_dict()
        if self.count or self.memory:
            places = {weight: place for place, weight in enumerate(self.weights())}
            kept = {places[weight]: dict(tensors) for weight, tensors in self.memory.items()}
            state["wrapper"] = {"count": self.count, "memory": kept}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict()``, bit for bit; a state of the bare base optimiser will do too."""
        assert self.base is not None
        own = state_dict.get("wrapper", {"count": 0, "memory": {}})
        self.base.load_state_dict({key: value for key, value in state_dict.items() if key != "wrapper"})
        self._share()
        weights = self.weights()
        self.count = int(own["count"])
        self.memory = {
            weights[int(place)]: {
                name: copy.deepcopy(tensor).to(weights[int(place)].device) for name, tensor in tensors.items()
            }
            for place, tensors in own["memory"].items()
        }

    def recall(self, name: str, weights: Sequence[Tensor]) -> list[Tensor | None]:
        """The remembered tensor of each parameter, None where there is none."""
        return [self.memory.get(weight, {}).get(name) for weight in weights]

    def remember(self, name: str, weights: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
        """Keep a tensor per parameter until the next step: always in the same place, as a CUDA graph needs it."""
        for weight, tensor in zip(weights, tensors, strict=True):
            kept = self.memory.setdefault(weight, {})
            if name in kept:
                kept[name].copy_(tensor)
            else:
                kept[name] = tensor

    # -- schedules --------------------------------------------------------------------------------------------------

    def set_progress(self, epoch: float, epochs: float, lr_factor: float = 1.0) -> None:
        """Say where training stands, before each step: completed epochs (a fraction inside one), their number, and the
        learning rate as a share of its base value. Schedules of a wrapper's own options are pure functions of these;
        who never says it trains with the options as they were given."""
        self.epoch, self.epochs, self.lr_factor = epoch, epochs, lr_factor

    def scheduled(self, schedule: Schedule, end: float) -> float:
        """The factor of a schedule that falls (or rises) from 1 to ``end``: end + (1 - end) s, with s 1 (constant),
        1 - t (linear), (1 + cos pi t) / 2 (cosine), t = epoch / epochs, or the learning rate's own factor (lr)."""
        t = self.epoch / self.epochs
        shares = {"linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2, "lr": self.lr_factor}
        return 1.0 if schedule == "constant" else end + (1 - end) * shares[schedule]

    # -- CUDA graphs ------------------------------------------------------------------------------------------------

    def kind(self) -> tuple[Any, ...]:
        """Plain values that the next step depends on, beside learning rate and radius: equal ones, equal kernels."""
        return ()

    def hold(self, dtype: torch.dtype) -> None:
        """Keep the learning rates on the device, in the same scalars each time, filled in place; ``release`` ends it.

        The base is fused meanwhile: such optimisers read a rate from the device. Adam's count of steps moves there.
        """
        if self._released:
            return
        device = self.weights()[0].device
        if len(self._rates) != len(self.param_groups):
            self._rates = [torch.zeros((), dtype=dtype, device=device) for _ in self.param_groups]
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            self._released.append({key: group[key] for key in ("foreach", "fused")})
            rate.fill_(group["lr"])
            group.update(lr=rate, foreach=False, fused=True)
        for state in self.state.values():
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(device=device, dtype=torch.float32)

    def release(self) -> None:
        """Back to plain numbers, which is what checkpoints hold."""
        for group, before in zip(self.param_groups, self._released, strict=bool(self._released)):
            group.update(before, lr=float(group["lr"]))
        self._released = []

    @contextlib.contextmanager
    def capturing(self) -> Iterator[None]:
        """While a step is captured: some of torch's optimisers want to be told."""
        groups = [(group, group["capturable"]) for group in self.param_groups if "capturable" in group]
        for group, _ in groups:
            group["capturable"] = True
        try:
            yield
        finally:
            for group, before in groups:
                group["capturable"] = before

    def places(self) -> list[int]:
        """Where in memory the tensors lie that are kept from step to step."""
        kept = [*self.state.values(), *self.memory.values()]
        return [tensor.data_ptr() for items in kept for tensor in items.values() if isinstance(tensor, Tensor)]

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
