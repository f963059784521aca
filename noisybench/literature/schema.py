"""What a published score, its source and its protocol are, read strictly: an error names file, place and key."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noisybench.errors import DataError
from noisybench.literature.words import ARCHITECTURES, DATASETS, FLIPS, KINDS, RULES
from noisybench.registry import did_you_mean

METRICS = ("test_acc", "clean_val_acc")
ORIGINS = ("primary_text", "secondary_table", "secondary_note")
SPLITS = ("aggre", "rand1", "rand2", "rand3", "worst", "fine", "pmd_type_I", "pmd_type_II", "pmd_type_III")
ORACLES = ("noise_rate", "per_rate", "clean_validation", "test_set")
"""Knowledge no one has in practice: the true noise rate given to the method; hyperparameters set per noise rate or
kind; hyperparameters or epoch chosen on clean held-out labels; the variant chosen on the test set."""
VALIDATION = ("none", "noisy", "clean", "held-out")
"""Data held out of the training set for choices; ``held-out``: the source does not say whether its labels are noisy."""


@dataclass(frozen=True)
class Citation:
    """One entry of citations.yaml. ``checked`` is False where the whole entry is from memory."""

    key: str
    title: str | None
    authors: tuple[str, ...]
    venue: str
    year: int
    arxiv: str | None
    checked: bool

    def __str__(self) -> str:
        """``Zhang and Sabuncu, Generalized ..., NeurIPS 2018, arXiv:1805.07836``."""
        names = [author.split()[-1] for author in self.authors]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        parts = [who, self.title, f"{self.venue} {self.year}", f"arXiv:{self.arxiv}" if self.arxiv else None]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Origin:
    """Where a file's numbers were read: kind (one of ORIGINS), address, in which form."""

    kind: str
    url: str
    read_as: str


@dataclass(frozen=True)
class Score:
    """One published number in the source's words; None means not stated or not read. README.md explains the keys."""

    method: str
    dataset: str
    noise: str
    rate: float
    acc: float
    metric: str
    cite: str
    table: str
    verified: bool
    source: str = ""
    method_cite: str | None = None
    arch: str | None = None
    split: str | None = None
    flip: str | None = None
    std: float | None = None
    ci95: float | None = None
    epoch: str | None = None
    seeds: int | None = None
    seen_in: str | None = None
    group: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Protocol:
    """How a source made a number, in the words of our suites. None means that the source does not state it."""

    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: Mapping[str, Any] | None = None
    clip: float | None = None
    augment: tuple[str, ...] | None = None
    train_size: int | None = None
    test_size: int | None = None
    count: str | None = None
    mapping: str | None = None
    validation: str | None = None
    averaging: str | None = None
    ensemble: int | None = None
    pretraining: str | None = None
    precision: str | None = None
    oracle: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] | None = None
    quoted_from: str | None = None
    m: int | None = None
    labels_sha256: str | None = None


@dataclass(frozen=True)
class Rule:
    """A protocol block and the scores it is for: every key of ``where`` must equal one of the listed values."""

    where: Mapping[str, tuple[Any, ...]]
    values: Mapping[str, Any]

    def applies(self, score: Score) -> bool:
        """True when the block is for this score."""
        return all(getattr(score, key) in allowed for key, allowed in self.where.items())


@dataclass(frozen=True)
class Source:
    """One file: where its numbers were read, notes, scores, and the protocols behind them.

    ``citations``: those that the file brings itself, by key; all others stand in citations.yaml.
    """

    name: str
    title: str
    origins: Mapping[str, Origin]
    notes: tuple[str, ...]
    scores: tuple[Score, ...]
    rules: tuple[Rule, ...] = field(default=())
    citations: Mapping[str, Citation] = field(default_factory=dict)

    def protocol(self, score: Score) -> Protocol:
        """The protocol of one score: all blocks that are for it, in order, later ones over earlier ones."""
        values: dict[str, Any] = {}
        for rule in self.rules:
            if rule.applies(score):
                values.update(rule.values)
        return Protocol(**values)

    def origin(self, score: Score) -> Origin | None:
        """Where a score was read; None: from memory."""
        return None if score.seen_in is None else self.origins[score.seen_in]


WHERE = ("table", "dataset", "arch", "noise", "rate", "split", "method", "group", "epoch", "cite")
"""Keys of a score that ``for`` may name."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+/-]*")
"""Citation keys and arXiv numbers go into LaTeX and BibTeX as they stand."""

_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
_SCORE_ENUMS: dict[str, Sequence[str]] = {
    "dataset": tuple(DATASETS),
    "noise": tuple(KINDS),
    "metric": METRICS,
    "arch": tuple(ARCHITECTURES),
    "flip": tuple(FLIPS),
    "epoch": tuple(RULES),
    "split": SPLITS,
}
_SCORE_RANGES = {"rate": (0, 1), "acc": (0, 100), "std": (0, 100), "ci95": (0, 100), "seeds": (1, 1000)}
_PROTOCOL_ENUMS: dict[str, Sequence[str]] = {
    "validation": VALIDATION,
    "count": ("exact", "independent"),
    "mapping": ("standard", "other"),
    "oracle": ORACLES,
}
_PROTOCOL_RANGES = {
    "epochs": (1, 10_000),
    "batch_size": (1, 100_000),
    "lr": (0, 100),
    "momentum": (0, 1),
    "weight_decay": (0, 1),
    "clip": (0, 1000),
    "train_size": (1, 1_300_000),
    "test_size": (1, 1_300_000),
    "ensemble": (1, 100),
    "m": (1, 100_000),
}


def parse_citations(data: Any, place: str) -> dict[str, Citation]:
    """Citations by key."""
    _keys(data, place, required=("schema", "citations"))
    out: dict[str, Citation] = {}
    for index, item in enumerate(_list(data["citations"], f"{place}: citations"), 1):
        entry = _record(Citation, item, f"{place}, citation {index}", _read_lists(item, ("authors",)))
        for name, text in (("key", entry.key), ("arxiv", entry.arxiv)):
            if text is not None and not _IDENTIFIER.fullmatch(text):
                raise DataError(f"{place}, citation {index}: {name} {text!r} has other than letters, digits and _.:+/-")
        _check_authors(entry.authors, f"{place}, citation {index} ({entry.key})")
        if entry.key in out:
            raise DataError(f"{place}, citation {index}: key '{entry.key}' stands twice")
        out[entry.key] = entry
    return out


def _check_authors(authors: Any, place: str) -> None:
    if not isinstance(authors, tuple) or not all(isinstance(one, str) and one.strip() for one in authors):
        raise DataError(f"{place}: authors must be a list of names, not {authors!r}")


def parse_source(data: Any, name: str, citations: Mapping[str, Citation], place: str = "") -> Source:
    """A source from the parsed YAML; DataError names the file (``place``, NAME.yaml unless given), score and key."""
    place = place or f"{name}.yaml"
    _keys(data, place, required=("schema", "title", "sources", "notes", "scores"), optional=("protocol", "protocols"))
    if data["schema"] != 1:
        raise DataError(f"{place}: schema {data['schema']!r}; this version reads schema 1")
    origins = {}
    for key, item in (data["sources"] or {}).items():
        origins[key] = _record(Origin, item, f"{place}, source {key}")
        _one_of(origins[key].kind, ORIGINS, f"{place}, source {key}: kind")
    scores = tuple(
        _score(item, name, f"{place}, score {index}", origins, citations)
        for index, item in enumerate(_list(data["scores"], f"{place}: scores"), 1)
    )
    rules = [_rule({**data["protocol"], "for": {}}, f"{place}, protocol", scores)] if data.get("protocol") else []
    for index, item in enumerate(_list(data.get("protocols") or [], f"{place}: protocols"), 1):
        rules.append(_rule(item, f"{place}, protocols {index}", scores))
    return Source(name, str(data["title"]), origins, tuple(map(str, data["notes"] or ())), scores, tuple(rules))


def _score(
    item: Any, source: str, place: str, origins: Mapping[str, Origin], citations: Mapping[str, Citation]
) -> Score:
    score: Score = _record(Score, item, place, {"source": source})
    place = f"{place} ({score.method})"
    for key, allowed in _SCORE_ENUMS.items():
        if getattr(score, key) is not None:
            _one_of(getattr(score, key), allowed, f"{place}: {key}")
    for key, (low, high) in _SCORE_RANGES.items():
        _within(getattr(score, key), low, high, f"{place}: {key}")
    for key in ("cite", "method_cite"):
        if getattr(score, key) is not None:
            _one_of(getattr(score, key), tuple(citations), f"{place}: {key}")
    if score.seen_in is not None:
        _one_of(score.seen_in, tuple(origins), f"{place}: seen_in")
    if score.verified and (score.seen_in is None or origins[score.seen_in].kind == "secondary_note"):
        raise DataError(f"{place}: verified, but not read in a paper or in a table that quotes it")
    if (score.noise == "clean") != (score.rate == 0):
        raise DataError(f"{place}: noise {score.noise} at rate {score.rate:g}")
    return score


def _rule(item: Any, place: str, scores: Sequence[Score]) -> Rule:
    if not isinstance(item, Mapping) or not isinstance(item.get("for"), Mapping):
        raise DataError(f"{place}: needs 'for', a mapping of {', '.join(WHERE)}")
    where = {}
    for key, value in item["for"].items():
        _one_of(key, WHERE, f"{place}: for")
        where[key] = tuple(value) if isinstance(value, list) else (value,)
        for one in where[key]:
            if not any(getattr(score, key) == one for score in scores):
                raise DataError(f"{place}: for.{key}: no score has {one!r}")
    body = {key: value for key, value in item.items() if key != "for"}
    rule = Rule(where, _protocol(body, place))
    if not any(rule.applies(score) for score in scores):
        raise DataError(f"{place}: matches no score")
    return rule


def _protocol(body: Mapping[str, Any], place: str) -> dict[str, Any]:
    known = {f.name: f for f in dataclasses.fields(Protocol)}
    out: dict[str, Any] = {}
    for key, value in body.items():
        _one_of(key, tuple(known), f"{place}: key")
        if value is None:  # said to be not stated, over an earlier block
            out[key] = None
            continue
        if key == "schedule" and isinstance(value, str):
            value = {"name": value}
        if key in ("augment", "oracle"):
            value = tuple(_list(value, f"{place}: {key}"))
        kind = _base(str(known[key].type))
        if kind in _TYPES and (not isinstance(value, _TYPES[kind]) or isinstance(value, bool)):
            raise DataError(f"{place}: {key} must be {kind}, not {value!r}")
        if kind == "Mapping" and not isinstance(value, Mapping):
            raise DataError(f"{place}: {key} must be a mapping, not {value!r}")
        for one in value if isinstance(value, tuple) else (value,):
            if key in _PROTOCOL_ENUMS:
                _one_of(one, _PROTOCOL_ENUMS[key], f"{place}: {key}")
        if key in _PROTOCOL_RANGES:
            _within(value, *_PROTOCOL_RANGES[key], f"{place}: {key}")
        out[key] = value
    return out


def _base(annotation: str) -> str:
    return annotation.split(" | ")[0].split("[")[0]


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, str, bool, bool], ...]:
    """(name, base type, may be None, required) of a dataclass's fields."""
    return tuple(
        (f.name, _base(str(f.type)), "None" in str(f.type), f.default is dataclasses.MISSING)
        for f in dataclasses.fields(kind)
    )


def _record(kind: type, item: Any, place: str, extra: Mapping[str, Any] | None = None) -> Any:
    """A dataclass from a mapping: no unknown key, none missing, every value of its type."""
    if not isinstance(item, Mapping):
        raise DataError(f"{place}: a mapping is needed, not {item!r}")
    values = {**item, **(extra or {})}
    fields = _fields(kind)
    names = [name for name, *_ in fields]
    for key in values:
        _one_of(key, names, f"{place}: key")
    for name, base, optional, required in fields:
        if name not in values:
            if required:
                raise DataError(f"{place}: {name} is missing")
            continue
        value = values[name]
        if value is None:
            if not optional:
                raise DataError(f"{place}: {name} may not be null")
        elif base in _TYPES and (not isinstance(value, _TYPES[base]) or (isinstance(value, bool) and base != "bool")):
            raise DataError(f"{place}: {name} must be {base}, not {value!r}")
    return kind(**values)


def _read_lists(item: Any, names: Sequence[str]) -> dict[str, Any]:
    return {n: tuple(item[n]) for n in names if isinstance(item, Mapping) and isinstance(item.get(n), list)}


def _keys(data: Any, place: str, *, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    if not isinstance(data, Mapping):
        raise DataError(f"{place}: a mapping is needed")
    for key in data:
        _one_of(key, (*required, *optional), f"{place}: key")
    for key in required:
        if key not in data:
            raise DataError(f"{place}: {key} is missing")


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{place} must be a list")
    return value


def _one_of(value: Any, allowed: Sequence[str], place: str) -> None:
    if value not in allowed:
        raise DataError(f"{place} '{value}' is not known{did_you_mean(str(value), allowed)}")


def _within(value: Any, low: float, high: float, place: str) -> None:
    if value is not None and not low <= value <= high:
        raise DataError(f"{place} must lie in {low:g} to {high:g}, not {value!r}")
