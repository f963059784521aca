"""Several kinds of noise, one after the other."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from noisybench import registry
from noisybench.errors import DataError, ParameterError
from noisybench.noise.expected import expected_rate, expected_transition
from noisybench.noise.source import Corrupted, Source
from noisybench.registry import noise
from noisybench.seeding import Draws


def _checked(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps with all defaults, so that equal noise is equal however it is written; ValueError naming the step."""
    checked = []
    for number, step in enumerate(steps, start=1):
        if not isinstance(step.get("kind"), str):
            raise ValueError(f"step {number} needs a 'kind'")
        kind, pin, params = _parts(step)
        try:
            component = registry.get("noise", kind)
            params = component.validate(params)
        except ParameterError as error:
            raise ValueError(f"step {number} ('{kind}'): {error}") from None
        reads = any(params[key] is not None and "file" in component.markers(key) for key in params)
        if reads and not isinstance(pin, str):
            raise ValueError(f"step {number} ('{kind}') reads a file: give its SHA-256 as 'sha256'")
        checked.append({"kind": kind, **params, **({"sha256": pin} if reads else {})})
    return checked


def _parts(step: dict[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    params = dict(step)
    return params.pop("kind"), params.pop("sha256", None), params


Steps = Annotated[list[dict[str, Any]], Field(min_length=1), AfterValidator(_checked)]


def _expected(sizes: np.ndarray, *, steps: list[dict[str, Any]]) -> np.ndarray | None:
    joint: np.ndarray = np.eye(len(sizes))
    for step in steps:
        kind, _, params = _parts(step)
        matrix = expected_transition(kind, params, len(sizes), sizes @ joint)
        if matrix is None:
            return None
        joint = joint @ matrix
    return joint


def _wrong(sizes: np.ndarray, *, steps: list[dict[str, Any]]) -> float | None:
    active = [step for step in steps if step["kind"] != "clean"]
    if len(active) == 1:
        kind, _, params = _parts(active[0])
        return expected_rate(kind, params, len(sizes), sizes)
    joint = _expected(sizes, steps=steps)
    return None if joint is None else float(sizes @ (1 - np.diag(joint)) / sizes.sum())


@noise("compose", transition=_expected, wrong=_wrong)
def compose(clean: np.ndarray, num_classes: int, draws: Draws, source: Source, *, steps: Steps) -> Corrupted:
    """Each of ``steps`` (mappings with ``kind`` and its parameters) corrupts the labels that the one before it left.

    Within a step flips are read off what it was given. A second step can flip a label back, so shares don't add up:
    rate and matrix are measured on the joint result against the clean labels. Step i draws from its own stream
    (seed, noise, step, i). A step that reads a file by content (``file``, ``matrix``, ``pmd``) carries the SHA-256 of
    that file as ``sha256``; its relative path is looked for in the data folder. ``human``, and a ``file`` with clean
    labels, can only be the first step. ``details`` of step i are kept as ``step<i>.<name>``.
    """
    labels, details = clean, {}
    for number, step in enumerate(steps, start=1):
        kind, pin, params = _parts(step)
        component = registry.get("noise", kind)
        if pin is not None:
            _check_files(component, params, pin, source)
        arguments = {component.keys[key]: value for key, value in params.items()}
        made = component.target(labels.copy(), num_classes, draws.child("step", number), source, **arguments)
        if isinstance(made, Corrupted):
            details.update({f"step{number}.{name}": value for name, value in made.details.items()})
            made = made.labels
        labels = np.asarray(made)
    return Corrupted(labels, details)


def _check_files(component: registry.Component, params: dict[str, Any], pin: str, source: Source) -> None:
    for key, value in params.items():
        if value is None or "file" not in component.markers(key):
            continue
        place = source.find(value)
        try:
            digest = hashlib.sha256(place.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{place}: {error.strerror or error}") from None
        if digest != pin.lower():
            raise DataError(f"{place}: SHA-256 is {digest}, the step says {pin}")
