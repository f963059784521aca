"""``--smoke``: the same cells, tiny."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from noisybench import registry
from noisybench.spec import component_mappings
from noisybench.suite.grammar import COMMON
from noisybench.suite.stand_in import synthetic_like

EPOCHS, TRAIN, TEST, BATCH = 3, 200, 100, 32
"""At most this many epochs, training and test images (20 and 10 a class of ten), images a batch."""


def shrink(data: Mapping[str, Any], available: Callable[[Mapping[str, Any]], bool]) -> tuple[dict[str, Any], bool]:
    """A cell's resolved blocks made tiny, and whether its data had to be replaced by synthetic images."""
    dataset = dict(data["dataset"])
    dataset["train_subset"] = min(dataset["train_subset"] or TRAIN, TRAIN)
    dataset["test_subset"] = min(dataset["test_subset"] or TEST, TEST)
    synthetic = not available(data["dataset"])
    if synthetic:
        dataset = synthetic_like(dataset)
    noise = dict(data["noise"])
    open_set = noise.get("open_set")
    if open_set is not None and not available(open_set["from"]):
        noise["open_set"], synthetic = {**open_set, "from": _other(open_set["from"])}, True
    training = dict(data["training"])
    before, after = training["epochs"], min(training["epochs"], EPOCHS)
    training |= {
        "epochs": after,
        "batch_size": min(training["batch_size"], BATCH),
        "warmup": scale(training["warmup"], before, after),
    }
    small: dict[str, Any] = {
        **data,
        "dataset": dataset,
        "noise": noise,
        "training": training,
        "method": dict(data["method"]),
    }
    for slot, mapping in list(component_mappings(small)):
        component = registry.get(slot.family, mapping[slot.name_key])
        counted = {key for key in component.keys if "epochs" in component.markers(key) and key in mapping}
        if counted:
            _put(small, slot.path.split("."), {key: scale(mapping[key], before, after) for key in counted})
    return small, synthetic


def _other(block: Mapping[str, Any]) -> dict[str, Any]:
    """Synthetic images in place of those that open-set noise takes: not those of the synthetic data set itself."""
    made = {key: value for key, value in synthetic_like(block).items() if key not in COMMON["dataset"].keys}
    return {**made, "seed": 1}


def scale(value: Any, before: int, after: int) -> Any:
    """A number of epochs (or a list of them) for a run of ``after`` instead of ``before`` epochs.

    Rounded up, so that nothing that ran at all is left out; what ended before the last epoch still does, so that the
    last phase runs. Order is kept.

    >>> scale([60, 120, 160], 200, 3), scale(0, 200, 3), scale(200, 200, 3), scale(10, 200, 3)
    ([1, 2, 2], 0, 3, 1)
    """
    if isinstance(value, (list, tuple)):
        return [scale(item, before, after) for item in value]
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0 or before == after:
        return value
    scaled = -(-value * after // before)
    return min(scaled, max(1, after - 1)) if value < before else scaled


def _put(tree: dict[str, Any], parts: list[str], values: Mapping[str, Any]) -> None:
    for part in parts:
        tree[part] = dict(tree[part])
        tree = tree[part]
    tree.update(values)
