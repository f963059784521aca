"""Per-sample losses of logits and labels, one file each.

A loss is a pure function ``f(logits [B, K], labels [B] int64, *, ...) -> [B]`` in the dtype of the logits, with a
finite value and gradient at any finite logits (up to values that the dtype cannot hold). What keeps state, draws, or
needs the batch, two views or a second network is an algorithm. A loss that can be negative says so:
``@loss("name", signed=True)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from noisybench import registry


def build_loss(name: str, **params: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss ``name`` with these parameters as ``(logits [B, K], labels [B]) -> [B]``.

    Raises UnknownName or ParameterError, with what is allowed.

    >>> build_loss("gce", q=1.0)(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([0.7500, 0.7500])
    """
    component = registry.get("loss", name)
    checked = component.validate(params)
    return functools.partial(component.target, **{component.keys[key]: value for key, value in checked.items()})
