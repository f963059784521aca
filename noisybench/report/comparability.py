"""May a published score and a measured one be compared? Every reason against it, one by one.

Three kinds of reason: something *differs*, the source does *not state* it, or it is *unsure*. A pair is ``comparable``
only when there is none. A *note* says what a reader of the two numbers should know and is no reason against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from noisybench.literature.schema import Origin, Protocol, Score
from noisybench.literature.words import ARCHITECTURES, DATASETS, FLIPS, RULES
from noisybench.report.results import Cell, finite
from noisybench.spec import at

DIFFERS, NOT_STATED, UNSURE, NOTE = "differs", "not stated", "unsure", "note"
WRONG_SHARE_TOLERANCE = 0.005
"""Realised against expected share of wrong labels: half a point is sampling, more is another noise."""


@dataclass(frozen=True)
class Reason:
    """One reason against a comparison: differs or unsure (``text`` is a footnote), or not stated (of ``text``); or a
    note."""

    key: str
    kind: str
    text: str


@dataclass(frozen=True)
class Pair:
    """A published score beside a cell: how it was made, where it was read, and the selection rule of the report."""

    cell: Cell
    score: Score
    protocol: Protocol
    origin: Origin | None
    rule: str
    chosen: bool = False  # the cell is one of several variants, picked by ``choose``

    def ours(self, path: str) -> Any:
        """A setting of the cell at a dotted path."""
        return at(self.cell.settings, path)

    def measured(self, path: str) -> list[Any]:
        """The different values at ``path`` of the cell's finished results, in the order of the seeds."""
        found = [at(run.result or {}, path) for run in self.cell.finished]
        return list(dict.fromkeys(value for value in found if value is not None))


def reasons(pair: Pair) -> tuple[Reason, ...]:
    """All reasons, in a fixed order."""
    return tuple(reason for check in CHECKS for reason in check(pair))


def verdict(found: tuple[Reason, ...]) -> str:
    """``differs``, ``unknown`` (nothing differs as far as the source says) or ``comparable``."""
    kinds = {reason.kind for reason in found} - {NOTE}
    return "differs" if DIFFERS in kinds else "unknown" if kinds else "comparable"


def _unknown(key: str, what: str) -> Reason:
    return Reason(key, NOT_STATED, what)


def _compare(key: str, what: str, theirs: Any, ours: Any, *, show: Callable[[Any], str] = str) -> Iterator[Reason]:
    """Not stated when theirs is None, a difference when the two are unequal."""
    if theirs is None:
        yield _unknown(key, what)
    elif theirs != ours:
        yield Reason(key, DIFFERS, f"{what}: {show(theirs)} published, {show(ours)} here")


def _measured(key: str, what: str, theirs: Any, ours: list[Any]) -> Iterator[Reason]:
    """As ``_compare``, with what the records say: nothing before there are any, several values when they disagree."""
    if theirs is None:
        yield _unknown(key, what)
    elif any(value != theirs for value in ours):
        yield Reason(key, DIFFERS, f"{what}: {_value(theirs)} published, {', '.join(map(_value, ours))} here")


def _number(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value:g}"


def architecture(pair: Pair) -> Iterator[Reason]:
    """Same network? An inferred identity is not one."""
    name = str(pair.ours("model.name"))
    if pair.score.arch is None:
        yield _unknown("architecture", "architecture")
        return
    theirs = ARCHITECTURES[pair.score.arch]
    own = {key: pair.ours(f"model.{key}") for key in theirs.params}
    if name not in theirs.models or own != theirs.params:
        params = "".join(f", {key} {value}" for key, value in own.items() if value is not None)
        yield Reason("architecture", DIFFERS, f"architecture: {theirs.label} published, {name}{params} here")
    elif theirs.unsure is not None:
        yield Reason("architecture", UNSURE, f"architecture: {theirs.unsure} ({name} here)")


def flip(pair: Pair) -> Iterator[Reason]:
    """May a symmetric flip return the true class?"""
    if _noisy(pair) and pair.score.noise == "symmetric":
        theirs = FLIPS[pair.score.flip] if pair.score.flip else None
        yield from _compare("flip", "flip convention", theirs, pair.ours("noise.flip"))


def count(pair: Pair) -> Iterator[Reason]:
    """Exactly rate x N labels, or each label by its own draw?"""
    if _noisy(pair) and pair.score.noise in ("symmetric", "asymmetric", "pairflip"):
        yield from _compare("count", "count of flips", pair.protocol.count, pair.ours("noise.count"))


def mapping(pair: Pair) -> Iterator[Reason]:
    """Which class goes where under asymmetric noise?"""
    if _noisy(pair) and pair.score.noise == "asymmetric":
        ours = "standard" if pair.ours("noise.mapping") in (None, pair.score.dataset) else "other"
        yield from _compare("mapping", "asymmetric class mapping", pair.protocol.mapping, ours)


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
        yield Reason("long_tail", DIFFERS, f"imbalance factor: 1 published, {_number(factor)} here")


FROM_FILES = ("human", "instance")
"""Noises that others take from a file of labels; the one drawn here under the same name is another draw."""


def label_file(pair: Pair) -> Iterator[Reason]:
    """The same version of the labels, where they come as a file?"""
    if pair.score.noise in FROM_FILES:
        ours = [f"{value[:12]}..." for value in pair.measured("noise.sha256")]
        theirs = pair.protocol.labels_sha256
        yield from _measured("label_file", "version of the label file", theirs and f"{theirs[:12]}...", ours)


def micro_batch(pair: Pair) -> Iterator[Reason]:
    """How many images share a perturbation of SAM? The whole batch, or each device's part of it."""
    found: Mapping[str, Any] = pair.ours("training.optimizer") or {}
    if "base" in found and "rho" in found:
        ours = found.get("m") or pair.ours("training.batch_size")
        yield from _compare("micro_batch", "images a perturbation (m)", pair.protocol.m, ours, show=_number)


def selection(pair: Pair) -> Iterator[Reason]:
    """Which epoch counts?"""
    theirs = RULES[pair.score.epoch] if pair.score.epoch else None
    yield from _compare("selection", "selection rule", theirs, pair.rule)


def metric(pair: Pair) -> Iterator[Reason]:
    """Measured on the clean test set?"""
    if pair.score.metric != "test_acc":
        yield Reason("metric", DIFFERS, "measured on clean held-out training images there, on the test set here")


def epochs(pair: Pair) -> Iterator[Reason]:
    """Length of training."""
    yield from _compare("epochs", "epochs", pair.protocol.epochs, pair.ours("training.epochs"), show=_number)


def train_size(pair: Pair) -> Iterator[Reason]:
    """Number of training images."""
    yield from _measured("train_size", "training images", pair.protocol.train_size, pair.measured("data.train_size"))


def test_size(pair: Pair) -> Iterator[Reason]:
    """Number of test images; unless a source says otherwise, the data set's own test set."""
    theirs = pair.protocol.test_size or DATASETS[pair.score.dataset][2]
    yield from _measured("test_size", "test images", theirs, pair.measured("data.test_size"))


def batch_size(pair: Pair) -> Iterator[Reason]:
    """Images a step."""
    ours = pair.ours("training.batch_size")
    yield from _compare("batch_size", "batch size", pair.protocol.batch_size, ours, show=_number)


def optimizer(pair: Pair) -> Iterator[Reason]:
    """Base optimiser (a wrapper such as SAM belongs to the method) and its numbers."""
    base: Mapping[str, Any] = pair.ours("training.optimizer") or {}
    while isinstance(base.get("base"), Mapping):
        base = base["base"]
    yield from _compare("optimizer", "optimiser", pair.protocol.optimizer, base.get("name"))
    for key, what in (("lr", "learning rate"), ("momentum", "momentum"), ("weight_decay", "weight decay")):
        theirs = getattr(pair.protocol, key)
        if key == "momentum" and theirs is None and "momentum" not in base:
            continue  # neither side has one
        yield from _compare(key, what, theirs, base.get(key, 0.0), show=_number)


def schedule(pair: Pair) -> Iterator[Reason]:
    """Learning rate over time: the name, and the parameters that the source states."""
    theirs, ours = pair.protocol.schedule, pair.ours("training.schedule") or {}
    if theirs is None:
        yield _unknown("schedule", "schedule")
    elif any(ours.get(key) != value for key, value in theirs.items()):
        shown = {key: ours[key] for key in ("name", *theirs) if key in ours}
        yield Reason("schedule", DIFFERS, f"schedule: {_mapping(theirs)} published, {_mapping(shown)} here")


def clip(pair: Pair) -> Iterator[Reason]:
    """Gradient clipping; not clipping is the rule and need not be stated."""
    theirs, ours = pair.protocol.clip, pair.ours("training.clip")
    if (theirs or ours) and theirs != ours:
        if theirs is None:
            yield Reason("clip", DIFFERS, f"gradient clipping: none stated, {_number(ours)} here")
        else:
            yield from _compare("clip", "gradient clipping", theirs, ours, show=_number)


def augmentation(pair: Pair) -> Iterator[Reason]:
    """Training augmentation, whatever its order."""
    theirs = None if pair.protocol.augment is None else sorted(pair.protocol.augment)
    ours = sorted(_augment(step) for step in pair.ours("training.augment") or ())
    yield from _compare("augmentation", "augmentation", theirs, ours, show=lambda x: ", ".join(x) or "none")


def _augment(step: Any) -> str:
    if not isinstance(step, Mapping):
        return str(step)
    name = str(step.get("name"))
    usual: dict[str, Any] = {"crop": {"padding": 4, "mode": "zero"}}.get(name, {})
    unusual = [f"{key} {value}" for key, value in step.items() if key in usual and value != usual[key]]
    return f"{name} ({', '.join(unusual)})" if unusual else name


def validation(pair: Pair) -> Iterator[Reason]:
    """Data held out of the training set for choices."""
    ours = "noisy" if finite(pair.ours("dataset.validation")) else "none"
    yield from _compare("validation", "held-out data for choices", pair.protocol.validation, ours)


def averaging(pair: Pair) -> Iterator[Reason]:
    """Weight averaging."""
    block: Mapping[str, Any] = pair.ours("method.averaging") or {}
    decay = "" if block.get("decay") is None else f" {_number(block['decay'])}"
    ours = f"{block['kind']}{decay}" if block else "none"
    yield from _compare("averaging", "weight averaging", pair.protocol.averaging, ours)


def ensemble(pair: Pair) -> Iterator[Reason]:
    """Number of networks that answer together."""
    ours = 2 if "ensemble" in pair.cell.marks else 1
    yield from _compare("ensemble", "networks that answer", pair.protocol.ensemble, ours)


def pretraining(pair: Pair) -> Iterator[Reason]:
    """Weights from other data."""
    ours = str(pair.ours("method.algorithm.pretraining") or "none")
    yield from _compare("pretraining", "pretraining", pair.protocol.pretraining, ours)


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
        yield _unknown("oracle", "oracle knowledge")
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
        yield _unknown("parameters", "the method's hyperparameters")
        return
    for path, theirs in stated.items():
        ours = pair.ours(path)
        if ours != theirs:
            yield from _compare("parameters", path.rpartition(".")[2], theirs, ours, show=_value)


def pixels(pair: Pair) -> Iterator[Reason]:
    """Images as published?"""
    if False in pair.measured("data.original_pixels"):
        yield Reason("pixels", DIFFERS, "the images here are not the data set's original pixels")


def precision(pair: Pair) -> Iterator[Reason]:
    """Number format of training."""
    ours = list(dict.fromkeys(run.precision for run in pair.cell.finished if run.precision))
    yield from _measured("precision", "precision", pair.protocol.precision, ours)


def seeds(pair: Pair) -> Iterator[Reason]:
    """Is it known over how many runs, and how far these scatter? Other numbers of both are worth a note."""
    theirs, ours = pair.score.seeds, len(pair.cell.finished)
    if theirs is None:
        yield _unknown("seeds", "number of seeds")
    elif ours and theirs != ours:
        yield Reason("seeds", NOTE, f"seeds: {theirs} published, {ours} here")
    if pair.score.std is None and pair.score.ci95 is None:
        yield _unknown("spread", "spread over seeds")
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


CHECKS: tuple[Callable[[Pair], Iterator[Reason]], ...] = (
    architecture,
    flip,
    count,
    mapping,
    wrong_share,
    label_file,
    open_set,
    long_tail,
    selection,
    metric,
    epochs,
    train_size,
    test_size,
    batch_size,
    optimizer,
    micro_batch,
    schedule,
    clip,
    augmentation,
    validation,
    averaging,
    ensemble,
    pretraining,
    oracle,
    parameters,
    pixels,
    precision,
    seeds,
    quoted,
    verified,
)


def _noisy(pair: Pair) -> bool:
    return pair.score.rate > 0


def _value(value: Any) -> str:
    return _number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _mapping(values: Mapping[str, Any]) -> str:
    rest = [f"{key} {value}" for key, value in values.items() if key != "name"]
    return f"{values.get('name')} ({', '.join(rest)})" if rest else str(values.get("name"))
