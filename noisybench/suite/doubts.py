"""What a study may not mean as it stands. Nothing here keeps it from running; it is said before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from noisybench import registry
from noisybench.registry import did_you_mean
from noisybench.spec import RunSpec, canonical_json
from noisybench.suite.stand_in import shape_and_classes


def doubts(runs: Iterable[RunSpec]) -> list[str]:
    """A sentence for each, in the order of the runs.

    Asked are every kind of noise, by its trait ``doubt(params, data) -> str | None`` with the name of the data set
    beside whose scores it stands, and ``as`` of a data set, which should name one that has published scores.
    """
    pairs = {
        canonical_json([block, spec.data["dataset"]]): (block, spec.data["dataset"])
        for spec in runs
        for block in _kinds(spec.data["noise"])
    }
    found = [text for block, data in pairs.values() for text in (_of_noise(block, data), _of_data(data)) if text]
    return list(dict.fromkeys(found))


def _kinds(block: Any) -> Iterator[Mapping[str, Any]]:
    """The noise block and, of several kinds one after the other, each of them."""
    if isinstance(block, Mapping):
        if isinstance(block.get("kind"), str):
            yield block
        for item in block.values():
            yield from _kinds(item)
    elif isinstance(block, list):
        for item in block:
            yield from _kinds(item)


def _of_noise(block: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    doubt = registry.get("noise", block["kind"]).traits.get("doubt")
    if doubt is None or data["name"] == "synthetic":
        return None
    text: str | None = doubt(block, str(data.get("as") or data["name"]))
    return text


def _of_data(data: Mapping[str, Any]) -> str | None:
    alias = data.get("as")
    if alias is None or shape_and_classes(alias) is not None:
        return None
    from noisybench.literature import scores

    known = sorted({score.dataset for score in scores()})
    if alias in known:
        return None
    return (
        f"'as: {alias}' names no data set with published scores, so that only a table of your own will stand beside "
        f"these results (--compare FILE.yaml){did_you_mean(str(alias), known) or '.'}"
    )
