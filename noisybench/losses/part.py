"""A loss as a parameter of another loss: a registered name, or a mapping with ``name`` and the loss's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from torch import Tensor

from noisybench import registry
from noisybench.errors import ParameterError


def check_part(value: str | dict[str, Any]) -> str | dict[str, Any]:
    """The same loss with all its parameters, so that equal losses are written equally; ValueError where it is none.

    >>> check_part({"name": "gce"})
    {'name': 'gce', 'q': 0.7}
    """
    params = {"name": value} if isinstance(value, str) else dict(value)
    name = params.pop("name", None)
    if not isinstance(name, str):
        raise ValueError("a loss is a name, or a mapping with 'name' and the loss's parameters")
    try:
        component = registry.get("loss", name)
        checked = component.validate(params)
    except ParameterError as error:
        raise ValueError(str(error)) from None
    if any("file" in component.markers(key) and isinstance(item, str) for key, item in checked.items()):
        raise ValueError(f"loss '{name}' reads a file, which a loss inside another one cannot")
    return {"name": name, **checked} if checked else name


Part = Annotated[str | dict[str, Any], AfterValidator(check_part)]


def apply_part(part: str | Mapping[str, Any], logits: Tensor, labels: Tensor) -> Tensor:
    """Per-sample values of a part that ``check_part`` has seen: logits [B, K], labels [B] -> [B]."""
    params = {"name": part} if isinstance(part, str) else dict(part)
    component = registry.get("loss", params.pop("name"))
    values: Tensor = component.target(logits, labels, **{component.keys[key]: item for key, item in params.items()})
    return values
