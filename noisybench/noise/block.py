"""Block noise: classes are mistaken for others of their group."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from noisybench.errors import ParameterError
from noisybench.noise.asymmetric import CIFAR100_SUPERCLASSES
from noisybench.noise.source import Source
from noisybench.noise.transition import choose_flips
from noisybench.registry import noise
from noisybench.seeding import Draws


def cifar100_groups() -> list[list[int]]:
    """The 20 superclasses of CIFAR-100 in alphabetical order, each as its five fine classes."""
    number = {name: i for i, name in enumerate(sorted(" ".join(CIFAR100_SUPERCLASSES.values()).split()))}
    return [sorted(number[name] for name in names.split()) for _, names in sorted(CIFAR100_SUPERCLASSES.items())]


def _disjoint(groups: list[list[int]]) -> list[list[int]]:
    members = [c for group in groups for c in group]
    if len(set(members)) != len(members):
        raise ValueError("must name each class at most once")
    if not any(len(group) > 1 for group in groups):
        raise ValueError("must hold a group of at least two classes")
    return groups


Groups = Annotated[list[list[Annotated[int, Field(ge=0)]]], AfterValidator(_disjoint)]


def _expected(sizes: np.ndarray, *, rate: float, groups: str | list[list[int]], flip: str, count: str) -> np.ndarray:
    expected = np.eye(len(sizes))
    for group in _resolved(groups, len(sizes)):
        if len(group) > 1:
            share = rate / (len(group) - (flip == "exclusive"))
            expected[np.ix_(group, group)] = share
            expected[group, group] = 1 - share * (len(group) - 1)
    return expected


@noise("block", transition=_expected)
def block(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    rate: Annotated[float, Field(ge=0, le=1)],
    groups: Literal["cifar100"] | Groups,
    flip: Literal["exclusive", "inclusive"] = "exclusive",
    count: Literal["exact", "whole_set", "independent"] = "exact",
) -> np.ndarray:
    """A share ``rate`` of the labels is replaced by a class drawn uniformly inside the group of the true class.

    ``groups`` is a list of lists of class numbers or ``cifar100``: its 20 superclasses of five. A class in no group,
    or alone in its group, keeps its labels. ``flip: exclusive`` draws among the other classes of the group,
    ``inclusive`` among all of it. ``count: exact`` flips rate n_c samples of each class c (rounded half up),
    ``whole_set`` picks rate N samples without regard to class, ``independent`` each with probability ``rate``.
    """
    table, size, place = _tables(_resolved(groups, num_classes), num_classes)
    chosen = choose_flips(clean, num_classes, draws, rate=rate, count=count)
    own = clean[chosen]
    others = size[own] - (flip == "exclusive")
    step = (draws.uniforms(len(clean))[chosen] * others).astype(np.int64)  # drawn for all, so that rates are nested
    position = (place[own] + (1 if flip == "exclusive" else 0) + step) % size[own]
    noisy = clean.copy()
    noisy[chosen] = np.where(size[own] > 1, table[own, position], own)
    return noisy


def _resolved(groups: str | list[list[int]], num_classes: int) -> list[list[int]]:
    if isinstance(groups, str):
        if num_classes != 100:
            raise ParameterError(f"'cifar100' is for 100 classes, the data has {num_classes}", key="groups")
        return cifar100_groups()
    highest = max(c for group in groups for c in group)
    if highest >= num_classes:
        raise ParameterError(f"there is no class {highest}; classes are 0 .. {num_classes - 1}", key="groups")
    return groups


def _tables(groups: list[list[int]], num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The group of each class ``[K, largest group]``, its size ``[K]``, and the place of the class in it ``[K]``."""
    table = np.tile(np.arange(num_classes)[:, None], (1, max(len(group) for group in groups)))
    size, place = np.ones(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for group in groups:
        for i, c in enumerate(group):
            table[c, : len(group)], size[c], place[c] = group, len(group), i
    return table, size, place
