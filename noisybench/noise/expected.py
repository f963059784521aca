"""What a kind of noise does in expectation, before any label is drawn.

A kind says so itself, in its registration: ``transition=f`` with ``f(sizes, **params)`` -> ``[K, K]`` or None, or,
where only the share of wrong labels is known, ``wrong=f`` with ``f(sizes, **params)`` -> share or None. ``sizes``
float64 ``[K]`` are the numbers of clean samples of each class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisybench import registry
from noisybench.errors import DataError


def expected_transition(
    kind: str, params: Mapping[str, Any], num_classes: int, class_counts: Sequence[float] | np.ndarray | None = None
) -> np.ndarray | None:
    """T ``[K, K]`` in expectation, or None where the kind cannot know before it has looked at data.

    ``class_counts`` ``[K]`` are the clean samples of each class (default: equally many). Rounding of exact counts to
    whole samples is left out.
    """
    component, arguments, sizes = _prepared(kind, params, num_classes, class_counts)
    rule = component.traits.get("transition")
    expected: np.ndarray | None = None if rule is None else rule(sizes, **arguments)
    return expected


def expected_rate(
    kind: str, params: Mapping[str, Any], num_classes: int, class_counts: Sequence[float] | np.ndarray | None = None
) -> float | None:
    """The expected share of wrong labels: what ``noise_rate`` means as a parameter of a method.

    0.9 r for inclusive symmetric noise on ten classes, r/2 for asymmetric CIFAR-10; None where it is unknown before
    the labels are made. Arguments as for ``expected_transition``.

    >>> round(expected_rate("symmetric", {"rate": 0.8, "flip": "inclusive"}, 10), 12)
    0.72
    """
    component, arguments, sizes = _prepared(kind, params, num_classes, class_counts)
    wrong = component.traits.get("wrong")
    if wrong is not None:
        share = wrong(sizes, **arguments)
        return None if share is None else float(share)
    transition = expected_transition(kind, params, num_classes, class_counts)
    if transition is None:
        return None
    return float(np.clip(sizes @ (1 - np.diag(transition)) / sizes.sum(), 0, 1))


def _prepared(
    kind: str, params: Mapping[str, Any], num_classes: int, class_counts: Sequence[float] | np.ndarray | None
) -> tuple[registry.Component, dict[str, Any], np.ndarray]:
    component = registry.get("noise", kind)
    checked = component.validate(params)
    sizes = np.ones(num_classes) if class_counts is None else np.asarray(class_counts, dtype=np.float64)
    if sizes.shape != (num_classes,) or not (sizes >= 0).all() or sizes.sum() <= 0:
        raise DataError(f"class_counts must hold {num_classes} numbers of samples, not all 0")
    return component, {component.keys[key]: value for key, value in checked.items()}, sizes
