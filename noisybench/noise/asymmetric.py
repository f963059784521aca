"""Asymmetric noise: classes are mistaken for one similar class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from noisybench.errors import ParameterError
from noisybench.noise.source import Source
from noisybench.noise.transition import flip_within_classes, mapped_transition
from noisybench.registry import noise
from noisybench.seeding import Draws

CIFAR10_MAP = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog."""

CIFAR100_SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}
"""Superclass -> its fine classes. The 100 fine labels are numbered in alphabetical order."""


def cifar100_map() -> dict[int, int]:
    """Every fine class -> the next one, by number, inside its superclass; the last one -> the first."""
    number = {name: i for i, name in enumerate(sorted(" ".join(CIFAR100_SUPERCLASSES.values()).split()))}
    mapping: dict[int, int] = {}
    for names in CIFAR100_SUPERCLASSES.values():
        group = sorted(number[name] for name in names.split())
        mapping.update(zip(group, group[1:] + group[:1], strict=True))
    return mapping


def _whole_keys(value: Any) -> Any:
    """JSON knows no integer keys: ``{"9": 1}`` is ``{9: 1}``."""
    if isinstance(value, dict):
        return {int(key) if isinstance(key, str) and key.isdecimal() else key: item for key, item in value.items()}
    return value


def _some_flip(value: dict[int, int]) -> dict[int, int]:
    if not any(source != target for source, target in value.items()):
        raise ValueError("must map at least one class to another")
    return value


Class = Annotated[int, Field(ge=0)]
OwnMap = Annotated[dict[Class, Class], BeforeValidator(_whole_keys), AfterValidator(_some_flip)]


def _expected(sizes: np.ndarray, *, rate: float, mapping: str | dict[int, int] | None, count: str) -> np.ndarray:
    return mapped_transition(_targets(mapping, len(sizes)), rate)


def _doubt(params: Mapping[str, Any], data: str) -> str | None:
    if params["mapping"] is not None or data in ("cifar10", "cifar100"):
        return None
    return (
        f"noise 'asymmetric' without 'mapping' confuses classes as they are numbered in CIFAR-10 or CIFAR-100, and "
        f"data set '{data}' may have others; give mapping: {{from: to}}, cifar10, cifar100 or next, as it is meant."
    )


@noise("asymmetric", cite="patrini2017", transition=_expected, doubt=_doubt)
def asymmetric(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    rate: Annotated[float, Field(ge=0, le=1)],
    mapping: Literal["cifar10", "cifar100", "next"] | OwnMap | None = None,
    count: Literal["exact", "whole_set", "independent"] = "exact",
) -> np.ndarray:
    """A share ``rate`` of each class in ``mapping`` gets the class it is mapped to (Patrini et al. 2017, section 4).

    ``rate`` is per mapped class: with the CIFAR-10 map (9 -> 1, 2 -> 0, 4 -> 7, 3 <-> 5) half of all classes take
    part and rate/2 of all labels are wrong. Flips are read off the clean labels, so that cat -> dog is not flipped
    back. ``count: exact`` flips rate n_c samples of each mapped class c (rounded half up), ``independent`` each of
    them with probability ``rate``, ``whole_set`` picks rate N of all samples and flips those of mapped classes
    (DivideMix's code), so that the share within a class varies.

    ``mapping`` is ``cifar10``, ``cifar100`` (the next class inside the superclass, the reading of most papers),
    ``next`` (c -> c + 1, the last -> 0, for any number of classes: the other reading of CIFAR-100, the same as
    ``pairflip``) or ``{from: to, ...}`` in class numbers. By default it goes by the number of classes, 10 or 100,
    *whatever the data set*: a set of ten other classes should name its own, and ``validate`` and ``run`` say so.
    """
    target = _targets(mapping, num_classes)
    return flip_within_classes(clean, target, draws, rate=rate, count=count)


def _targets(mapping: str | dict[int, int] | None, num_classes: int) -> np.ndarray:
    target = np.arange(num_classes)
    for source, goal in _pairs(mapping, num_classes).items():
        if max(source, goal) >= num_classes:
            raise ParameterError(
                f"{source} -> {goal} names a class that is not there; classes are 0 .. {num_classes - 1}", key="mapping"
            )
        target[source] = goal
    return target


def _pairs(mapping: str | dict[int, int] | None, num_classes: int) -> dict[int, int]:
    named = {"cifar10": (10, CIFAR10_MAP), "cifar100": (100, cifar100_map())}
    if isinstance(mapping, dict):
        return mapping
    if mapping == "next":
        return {c: (c + 1) % num_classes for c in range(num_classes)}
    if mapping is None:
        mapping = next((name for name, (classes, _) in named.items() if classes == num_classes), None)
        if mapping is None:
            raise ParameterError(f"there is no usual map for {num_classes} classes; give {{from: to}}", key="mapping")
    classes, pairs = named[mapping]
    if classes != num_classes:
        raise ParameterError(f"'{mapping}' is for {classes} classes, the data has {num_classes}", key="mapping")
    return pairs
