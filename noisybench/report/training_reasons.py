"""Reasons against a comparison that lie in the training: network, sizes, optimiser, schedule, selection rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noisybench.literature.words import ARCHITECTURES, DATASETS, RULES
from noisybench.report.pair import (
    DIFFERS,
    UNSURE,
    Pair,
    Reason,
    compare,
    compare_measured,
    not_stated,
    number,
)


def architecture(pair: Pair) -> Iterator[Reason]:
    """Same network? An inferred identity is not one."""
    name = str(pair.ours("model.name"))
    if pair.score.arch is None:
        yield not_stated("architecture", "architecture")
        return
    theirs = ARCHITECTURES[pair.score.arch]
    own = {key: pair.ours(f"model.{key}") for key in theirs.params}
    if name not in theirs.models or own != theirs.params:
        params = "".join(f", {key} {value}" for key, value in own.items() if value is not None)
        yield Reason("architecture", DIFFERS, f"architecture: {theirs.label} published, {name}{params} here")
    elif theirs.unsure is not None:
        yield Reason("architecture", UNSURE, f"architecture: {theirs.unsure} ({name} here)")


def micro_batch(pair: Pair) -> Iterator[Reason]:
    """How many images share a perturbation of SAM? The whole batch, or each device's part of it."""
    found: Mapping[str, Any] = pair.ours("training.optimizer") or {}
    if "base" in found and "rho" in found:
        ours = found.get("m") or pair.ours("training.batch_size")
        yield from compare("micro_batch", "images a perturbation (m)", pair.protocol.m, ours, show=number)


def selection(pair: Pair) -> Iterator[Reason]:
    """Which epoch counts?"""
    theirs = RULES[pair.score.epoch] if pair.score.epoch else None
    yield from compare("selection", "selection rule", theirs, pair.rule)


def metric(pair: Pair) -> Iterator[Reason]:
    """Measured on the clean test set?"""
    if pair.score.metric != "test_acc":
        yield Reason("metric", DIFFERS, "measured on clean held-out training images there, on the test set here")


def epochs(pair: Pair) -> Iterator[Reason]:
    """Length of training."""
    yield from compare("epochs", "epochs", pair.protocol.epochs, pair.ours("training.epochs"), show=number)


def train_size(pair: Pair) -> Iterator[Reason]:
    """Number of training images."""
    yield from compare_measured(
        "train_size", "training images", pair.protocol.train_size, pair.measured("data.train_size")
    )


def test_size(pair: Pair) -> Iterator[Reason]:
    """Number of test images; unless a source says otherwise, the data set's own test set."""
    theirs = pair.protocol.test_size or DATASETS[pair.score.dataset][2]
    yield from compare_measured("test_size", "test images", theirs, pair.measured("data.test_size"))


def batch_size(pair: Pair) -> Iterator[Reason]:
    """Images a step."""
    ours = pair.ours("training.batch_size")
    yield from compare("batch_size", "batch size", pair.protocol.batch_size, ours, show=number)


def optimizer(pair: Pair) -> Iterator[Reason]:
    """Base optimiser (a wrapper such as SAM belongs to the method) and its numbers."""
    base: Mapping[str, Any] = pair.ours("training.optimizer") or {}
    while isinstance(base.get("base"), Mapping):
        base = base["base"]
    yield from compare("optimizer", "optimiser", pair.protocol.optimizer, base.get("name"))
    for key, what in (("lr", "learning rate"), ("momentum", "momentum"), ("weight_decay", "weight decay")):
        theirs = getattr(pair.protocol, key)
        if key == "momentum" and theirs is None and "momentum" not in base:
            continue  # neither side has one
        yield from compare(key, what, theirs, base.get(key, 0.0), show=number)


def schedule(pair: Pair) -> Iterator[Reason]:
    """Learning rate over time: the name, and the parameters that the source states."""
    theirs, ours = pair.protocol.schedule, pair.ours("training.schedule") or {}
    if theirs is None:
        yield not_stated("schedule", "schedule")
    elif any(ours.get(key) != value for key, value in theirs.items()):
        shown = {key: ours[key] for key in ("name", *theirs) if key in ours}
        yield Reason("schedule", DIFFERS, f"schedule: {_mapping(theirs)} published, {_mapping(shown)} here")


def clip(pair: Pair) -> Iterator[Reason]:
    """Gradient clipping; not clipping is the rule and need not be stated."""
    theirs, ours = pair.protocol.clip, pair.ours("training.clip")
    if (theirs or ours) and theirs != ours:
        if theirs is None:
            yield Reason("clip", DIFFERS, f"gradient clipping: none stated, {number(ours)} here")
        else:
            yield from compare("clip", "gradient clipping", theirs, ours, show=number)


def augmentation(pair: Pair) -> Iterator[Reason]:
    """Training augmentation, whatever its order."""
    theirs = None if pair.protocol.augment is None else sorted(pair.protocol.augment)
    ours = sorted(_augment(step) for step in pair.ours("training.augment") or ())
    yield from compare("augmentation", "augmentation", theirs, ours, show=lambda x: ", ".join(x) or "none")


def _augment(step: Any) -> str:
    if not isinstance(step, Mapping):
        return str(step)
    name = str(step.get("name"))
    usual: dict[str, Any] = {"crop": {"padding": 4, "mode": "zero"}}.get(name, {})
    unusual = [f"{key} {value}" for key, value in step.items() if key in usual and value != usual[key]]
    return f"{name} ({', '.join(unusual)})" if unusual else name


def _mapping(values: Mapping[str, Any]) -> str:
    rest = [f"{key} {value}" for key, value in values.items() if key != "name"]
    return f"{values.get('name')} ({', '.join(rest)})" if rest else str(values.get("name"))
