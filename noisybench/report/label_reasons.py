"""Reasons against a comparison that lie in the labels: which are wrong, how many, and which images they belong to."""

from __future__ import annotations

from collections.abc import Iterator

from noisybench.literature.schema import Score
from noisybench.literature.words import DATASETS, FLIPS
from noisybench.report.pair import (
    DIFFERS,
    WRONG_SHARE_TOLERANCE,
    Pair,
    Reason,
    compare,
    compare_measured,
    number,
)
from noisybench.report.results import finite


def flip(pair: Pair) -> Iterator[Reason]:
    """May a symmetric flip return the true class?"""
    if _noisy(pair) and pair.score.noise == "symmetric":
        theirs = FLIPS[pair.score.flip] if pair.score.flip else None
        yield from compare("flip", "flip convention", theirs, pair.ours("noise.flip"))


def count(pair: Pair) -> Iterator[Reason]:
    """Exactly rate x N labels, or each label by its own draw?"""
    if _noisy(pair) and pair.score.noise in ("symmetric", "asymmetric", "pairflip"):
        yield from compare("count", "count of flips", pair.protocol.count, pair.ours("noise.count"))


def mapping(pair: Pair) -> Iterator[Reason]:
    """Which class goes where under asymmetric noise?"""
    if _noisy(pair) and pair.score.noise == "asymmetric":
        ours = "standard" if pair.ours("noise.mapping") in (None, pair.score.dataset) else "other"
        yield from compare("mapping", "asymmetric class mapping", pair.protocol.mapping, ours)


def wrong_share(pair: Pair) -> Iterator[Reason]:
    """The share of wrong labels that was meant there, against the one measured here."""
    theirs = expected_wrong_share(pair.score)
    ours = [value for value in map(finite, pair.measured("noise.realised_rate")) if value is not None]
    if theirs is None or not ours:
        return
    mean = sum(ours) / len(ours)
    if abs(mean - theirs) > WRONG_SHARE_TOLERANCE:
        yield Reason("wrong_share", DIFFERS, f"wrong labels: {100 * theirs:.3g} % published, {100 * mean:.3g} % here")


def expected_wrong_share(score: Score) -> float | None:
    """Share of wrong labels that a nominal rate stands for; None where the convention is not stated."""
    if score.noise == "clean":
        return 0.0
    if score.noise == "human":
        return score.rate
    if score.noise == "pairflip":
        return score.rate
    if score.noise == "symmetric" and score.flip is not None:
        classes = DATASETS[score.dataset][0]
        return score.rate if score.flip == "excl" else score.rate * (classes - 1) / classes
    return None


def open_set(pair: Pair) -> Iterator[Reason]:
    """Images of another data set among the training images? No published score here has any."""
    ours = pair.ours("noise.open_set")
    if ours:
        yield Reason("open_set", DIFFERS, f"open-set images: none published, {100 * ours['rate']:.3g} % here")


def long_tail(pair: Pair) -> Iterator[Reason]:
    """Classes of equal size? No published score here has a long tail."""
    factor = pair.ours("dataset.imbalance")
    if factor is not None:
        yield Reason("long_tail", DIFFERS, f"imbalance factor: 1 published, {number(factor)} here")


FROM_FILES = ("human", "instance")
"""Noises that others take from a file of labels; the one drawn here under the same name is another draw."""


def label_file(pair: Pair) -> Iterator[Reason]:
    """The same version of the labels, where they come as a file?"""
    if pair.score.noise in FROM_FILES:
        ours = [f"{value[:12]}..." for value in pair.measured("noise.sha256")]
        theirs = pair.protocol.labels_sha256
        yield from compare_measured("label_file", "version of the label file", theirs and f"{theirs[:12]}...", ours)


def _noisy(pair: Pair) -> bool:
    return pair.score.rate > 0
