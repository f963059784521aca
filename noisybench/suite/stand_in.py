"""Synthetic images in place of a data set that is not here, of its shape and with its classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisybench import registry
from noisybench.suite.grammar import COMMON

FEWEST_TRAIN, FEWEST_TEST = 2000, 1000


def synthetic_like(like: str | Mapping[str, Any]) -> dict[str, Any]:
    """A resolved ``synthetic`` block with the shape and classes of a data set (32 x 32, 3 channels, 10 classes where
    only the data would tell), the same subset keys, and as many images as the subset needs."""
    spec = {"name": like} if isinstance(like, str) else dict(like)
    defaults, synthetic = COMMON["dataset"].defaults, registry.get("dataset", "synthetic")
    common = {**defaults, **{key: value for key, value in spec.items() if key in defaults}}
    own = {key: value for key, value in spec.items() if key != "name" and key not in defaults}
    if spec["name"] == "synthetic":
        return {"name": "synthetic", **common, **synthetic.validate(own)}
    shape, classes = shape_and_classes(spec.get("as") or spec["name"]) or ((3, 32, 32), 10)
    sizes = {
        f"{part}_size": max(smallest, 2 * classes, common[f"{part}_subset"] or 0)
        for part, smallest in (("train", FEWEST_TRAIN), ("test", FEWEST_TEST))
    }
    params = {"channels": shape[0], "height": shape[1], "width": shape[2], "num_classes": classes, **sizes}
    return {"name": "synthetic", **common, **synthetic.validate(params)}


def shape_and_classes(name: str | None) -> tuple[tuple[int, int, int], int] | None:
    """Shape and number of classes that a registered data set states about itself."""
    if name is None or name not in registry.names("dataset"):
        return None
    like: tuple[tuple[int, int, int], int] | None = registry.get("dataset", name).traits.get("like")
    return like
