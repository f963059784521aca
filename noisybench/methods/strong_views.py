"""Weak and strong views of the same images: the suite's augmentation, and more than that."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from noisybench.errors import ParameterError
from noisybench.methods.task import Task
from noisybench.suite.augmentations import parse_augment


def _written_out(steps: Any) -> Any:
    if not isinstance(steps, list):
        raise ValueError("must be a list of augmentations, e.g. [randaugment, cutout]")
    try:
        return parse_augment(steps)
    except ParameterError as error:
        raise ValueError(str(error)) from None


Strong = Annotated[list[Any], BeforeValidator(_written_out)]
"""Steps that a strong view has beyond the suite's ``augment``, written as there."""


def strong_augment(task: Task, steps: list[Any]) -> list[dict[str, Any]]:
    """The suite's steps, then ``steps``; one that the suite has too is taken with the parameters given here."""
    added = parse_augment(steps)
    names = {step["name"] for step in added}
    return [step for step in parse_augment(task.training["augment"]) if step["name"] not in names] + added
