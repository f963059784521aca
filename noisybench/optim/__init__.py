"""Optimisers and learning-rate schedules.

A base optimiser is a function ``f(params, *, lr, ...) -> torch.optim.Optimizer``. A wrapper such as SAM is registered
with ``wraps=True`` as ``f(params, base, base_params, *, rho, ...) -> Wrapper``. Either way ``build_optimizer`` returns
an optimiser whose ``step(closure)`` is complete: the closure does zero_grad, forward, backward and returns the loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.optim.sam import SAM
from noisybench.optim.wrapper import OnePass, Wrapper

__all__ = ["SAM", "OnePass", "Wrapper", "build_optimizer", "build_schedule"]


def build_optimizer(
    name: str,
    model: nn.Module | Sequence[nn.Module],
    *,
    base: Mapping[str, Any] | None = None,
    clip: float | None = None,
    **params: Any,
) -> Wrapper:
    """The optimiser ``name`` over the parameters of one or more networks.

    ``base`` names what a wrapper wraps, ``{"name": "sgd", "lr": 0.1, ...}`` (default: ``sgd`` as it stands). ``clip``
    is the largest global L2 norm of the gradient given to the base optimiser. The result's ``gradient_passes`` is the
    number of forward-backward passes of its last step. Raises UnknownName or ParameterError.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    weights = list(dict.fromkeys(weight for net in models for weight in net.parameters()))
    component = registry.get("optimizer", name)
    if not component.traits.get("wraps"):
        if base is not None:
            raise ParameterError(f"optimizer '{name}' wraps nothing and takes no base", key="base")
        build = functools.partial(component.target, **_arguments(component, params))
        return OnePass(weights, build, max_grad_norm=clip)
    inner = dict(base if base is not None else {"name": "sgd"})
    base_component = registry.get("optimizer", inner.pop("name", "sgd"))
    if base_component.traits.get("wraps"):
        raise ParameterError(f"'{base_component.name}' is a wrapper itself and cannot be wrapped", key="base.name")
    try:
        base_params = _arguments(base_component, inner)
    except ParameterError as error:
        raise ParameterError(error.message, key=f"base.{error.key}") from None
    wrapper: Wrapper = component.build(weights, base_component.target, base_params, **params)
    wrapper.models, wrapper.max_grad_norm = models, clip
    return wrapper


def build_schedule(name: str, **params: Any) -> Callable[[float, int], float]:
    """The schedule ``name`` as ``(completed epochs, all epochs) -> factor on the base learning rate``, a pure function.

    Raises UnknownName or ParameterError.
    """
    component = registry.get("schedule", name)
    schedule = functools.partial(component.target, **_arguments(component, params))
    schedule(0.0, 1)  # parameters that do not fit together show here, not in the middle of a run
    return schedule


def _arguments(component: registry.Component, params: Mapping[str, Any]) -> dict[str, Any]:
    """Validated parameters under their Python names."""
    return {component.keys[key]: value for key, value in component.validate(params).items()}
