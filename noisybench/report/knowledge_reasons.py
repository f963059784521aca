"""Reasons against a comparison that lie in what was known and used, and in how well the score itself is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noisybench.report.pair import (
    DIFFERS,
    NOTE,
    UNSURE,
    Pair,
    Reason,
    compare,
    compare_measured,
    not_stated,
    number,
    value_text,
)
from noisybench.report.results import finite


def validation(pair: Pair) -> Iterator[Reason]:
    """Data held out of the training set for choices."""
    ours = "noisy" if finite(pair.ours("dataset.validation")) else "none"
    yield from compare("validation", "held-out data for choices", pair.protocol.validation, ours)


def averaging(pair: Pair) -> Iterator[Reason]:
    """Weight averaging."""
    block: Mapping[str, Any] = pair.ours("method.averaging") or {}
    decay = "" if block.get("decay") is None else f" {number(block['decay'])}"
    ours = f"{block['kind']}{decay}" if block else "none"
    yield from compare("averaging", "weight averaging", pair.protocol.averaging, ours)


def ensemble(pair: Pair) -> Iterator[Reason]:
    """Number of networks that answer together."""
    ours = 2 if "ensemble" in pair.cell.marks else 1
    yield from compare("ensemble", "networks that answer", pair.protocol.ensemble, ours)


def pretraining(pair: Pair) -> Iterator[Reason]:
    """Weights from other data."""
    ours = str(pair.ours("method.algorithm.pretraining") or "none")
    yield from compare("pretraining", "pretraining", pair.protocol.pretraining, ours)


ORACLE_TEXTS = {
    "noise_rate": "the true noise rate was given to the method",
    "per_rate": "hyperparameters were set by the true noise rate or kind",
    "clean_validation": "choices were made on clean held-out labels",
    "test_set": "the variant was chosen on the test set",
    "oracle": "the method was given oracle knowledge",
}


def oracle(pair: Pair) -> Iterator[Reason]:
    """Knowledge that no one has in practice, on one side only."""
    ours = {"rate-aware": "per_rate", "oracle": "oracle"}
    mine = {ours[mark] for mark in pair.cell.marks if mark in ours}
    if pair.chosen and pair.cell.choose == "best":
        mine.add("test_set")
    theirs = pair.protocol.oracle
    if theirs is None:
        yield not_stated("oracle", "oracle knowledge")
    if "oracle" in mine and theirs:
        mine -= {"oracle"} if "noise_rate" in theirs else set()
        theirs = tuple(item for item in theirs if item != "noise_rate" or "oracle" not in pair.cell.marks)
    for key, text in ORACLE_TEXTS.items():
        if key in mine and key not in (theirs or ()):
            yield Reason("oracle", DIFFERS, f"{text} here")
        elif key in (theirs or ()) and key not in mine:
            yield Reason("oracle", DIFFERS, f"{text} there")


def parameters(pair: Pair) -> Iterator[Reason]:
    """The method's own hyperparameters, as far as they are stated."""
    stated = pair.protocol.parameters
    if stated is None:
        yield not_stated("parameters", "the method's hyperparameters")
        return
    for path, theirs in stated.items():
        ours = pair.ours(path)
        if ours != theirs:
            yield from compare("parameters", path.rpartition(".")[2], theirs, ours, show=value_text)


def pixels(pair: Pair) -> Iterator[Reason]:
    """Images as published?"""
    if False in pair.measured("data.original_pixels"):
        yield Reason("pixels", DIFFERS, "the images here are not the data set's original pixels")


def precision(pair: Pair) -> Iterator[Reason]:
    """Number format of training."""
    ours = list(dict.fromkeys(run.precision for run in pair.cell.finished if run.precision))
    yield from compare_measured("precision", "precision", pair.protocol.precision, ours)


def seeds(pair: Pair) -> Iterator[Reason]:
    """Is it known over how many runs, and how far these scatter? Other numbers of both are worth a note."""
    theirs, ours = pair.score.seeds, len(pair.cell.finished)
    if theirs is None:
        yield not_stated("seeds", "number of seeds")
    elif ours and theirs != ours:
        yield Reason("seeds", NOTE, f"seeds: {theirs} published, {ours} here")
    if pair.score.std is None and pair.score.ci95 is None:
        yield not_stated("spread", "spread over seeds")
    elif pair.score.std is None:
        yield Reason("spread", NOTE, "spread over seeds: published as a 95 % interval, not as a standard deviation")


def quoted(pair: Pair) -> Iterator[Reason]:
    """Run by the paper that prints it?"""
    if pair.protocol.quoted_from is not None:
        yield Reason("quoted", DIFFERS, f"quoted by the source from {pair.protocol.quoted_from}")
    if pair.origin is not None and pair.origin.kind != "primary_text":
        where = (
            "another paper or page that quotes it"
            if pair.origin.kind == "secondary_table"
            else "a note about the paper"
        )
        yield Reason("second_hand", UNSURE, f"read in {where}, not in the paper")


def verified(pair: Pair) -> Iterator[Reason]:
    """Was the number really read?"""
    if not pair.score.verified:
        yield Reason("unverified", UNSURE, "the published score is unverified")
