"""A broken score file is refused, and the error says where."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from noisybench.errors import DataError
from noisybench.literature.schema import Protocol, parse_citations, parse_source

CITATIONS = parse_citations(
    {
        "schema": 1,
        "citations": [
            {
                "key": "a2020",
                "title": "A",
                "authors": ["A B"],
                "venue": "V",
                "year": 2020,
                "arxiv": None,
                "checked": True,
            }
        ],
    },
    "citations.yaml",
)
GOOD: dict[str, Any] = {
    "schema": 1,
    "title": "T",
    "sources": {
        "text": {"kind": "primary_text", "url": "u", "read_as": "r"},
        "note": {"kind": "secondary_note", "url": "u", "read_as": "r"},
    },
    "notes": ["n"],
    "protocol": {"epochs": 100, "momentum": 0.9},
    "protocols": [
        {"for": {"method": "SAM"}, "epochs": 200, "schedule": "cosine", "augment": ["crop"], "oracle": []},
        {"for": {"rate": [0.4, 0.8]}, "momentum": None},
    ],
    "scores": [
        {
            "method": method,
            "dataset": "cifar10",
            "noise": "symmetric",
            "rate": rate,
            "acc": 80.0,
            "metric": "test_acc",
            "cite": "a2020",
            "table": "1",
            "verified": True,
            "seen_in": "text",
        }
        for method, rate in (("SGD", 0.2), ("SGD", 0.4), ("SAM", 0.2), ("SAM", 0.8))
    ],
}


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    """GOOD with one value replaced (or removed, for the value ``...``)."""
    data = copy.deepcopy(GOOD)
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return data


def test_later_protocol_blocks_go_over_earlier_ones() -> None:
    source = parse_source(GOOD, "good", CITATIONS)
    sgd_2, sgd_4, sam_2, sam_8 = (source.protocol(score) for score in source.scores)
    assert sgd_2 == Protocol(epochs=100, momentum=0.9)
    assert sgd_4 == Protocol(epochs=100, momentum=None)
    assert sam_2 == Protocol(epochs=200, momentum=0.9, schedule={"name": "cosine"}, augment=("crop",), oracle=())
    assert (sam_8.epochs, sam_8.momentum) == (200, None)


def test_a_score_knows_its_file_and_where_it_was_read() -> None:
    source = parse_source(GOOD, "good", CITATIONS)
    assert source.scores[0].source == "good"
    origin = source.origin(source.scores[0])
    assert origin is not None
    assert origin.kind == "primary_text"


SCORE = ["scores", 1]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema"], 2, "good.yaml: schema 2"),
        (["scroes"], [], "good.yaml: key 'scroes' is not known; did you mean 'scores'"),
        (["notes"], ..., "good.yaml: notes is missing"),
        ([*SCORE, "acurracy"], 1.0, "good.yaml, score 2: key 'acurracy' is not known"),
        ([*SCORE, "acc"], ..., "good.yaml, score 2: acc is missing"),
        ([*SCORE, "acc"], None, "acc may not be null"),
        ([*SCORE, "acc"], "80", r"acc must be float, not '80'"),
        ([*SCORE, "acc"], True, r"acc must be float, not True"),
        ([*SCORE, "acc"], 101.0, r"score 2 \(SGD\): acc must lie in 0 to 100, not 101.0"),
        ([*SCORE, "rate"], 1.2, "rate must lie in 0 to 1"),
        ([*SCORE, "rate"], 0.0, "noise symmetric at rate 0"),
        ([*SCORE, "seeds"], 0, "seeds must lie in 1"),
        ([*SCORE, "seeds"], 3.0, "seeds must be int"),
        ([*SCORE, "dataset"], "cifar11", "dataset 'cifar11' is not known; did you mean 'cifar10'"),
        ([*SCORE, "noise"], "symetric", "did you mean 'symmetric'"),
        ([*SCORE, "arch"], "resnet", "arch 'resnet' is not known"),
        ([*SCORE, "flip"], "exclusive", "flip 'exclusive' is not known"),
        ([*SCORE, "epoch"], "last10", "epoch 'last10' is not known"),
        ([*SCORE, "metric"], "top5", "metric 'top5' is not known"),
        ([*SCORE, "cite"], "a2021", "cite 'a2021' is not known; did you mean 'a2020'"),
        ([*SCORE, "method_cite"], "b", "method_cite 'b' is not known"),
        ([*SCORE, "seen_in"], "txt", "seen_in 'txt' is not known"),
        ([*SCORE, "seen_in"], "note", "verified, but not read"),
        ([*SCORE, "seen_in"], None, "verified, but not read"),
        (["scores"], {}, "scores must be a list"),
        (["sources", "text", "kind"], "web", "kind 'web' is not known"),
        (["protocol", "epoch"], 3, "good.yaml, protocol: key 'epoch' is not known; did you mean 'epochs'"),
        (["protocol", "epochs"], "ten", "epochs must be int, not 'ten'"),
        (["protocol", "epochs"], 1.5, "epochs must be int, not 1.5"),
        (["protocol", "momentum"], 9, "momentum must lie in 0 to 1"),
        (["protocol", "count"], "exactly", "count 'exactly' is not known"),
        (["protocol", "oracle"], ["rate"], "oracle 'rate' is not known"),
        (["protocol", "augment"], "crop", "augment must be a list"),
        (["protocol", "parameters"], 3, "parameters must be a mapping"),
        (["protocols", 0, "for"], ..., "protocols 1: needs 'for'"),
        (["protocols", 0, "for"], {"methods": "SAM"}, "for 'methods' is not known; did you mean 'method'"),
        (["protocols", 0, "for"], {"method": "ASAM"}, "for.method: no score has 'ASAM'"),
        (["protocols", 0, "for"], {"method": "SAM", "rate": 0.4}, "protocols 1: matches no score"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(path: list[Any], value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_source(changed(path, value), "good", CITATIONS)


def test_broken_citations_are_refused() -> None:
    entry = {"key": "a", "title": "A", "authors": ["A B"], "venue": "V", "year": 2020, "arxiv": None, "checked": True}
    with pytest.raises(DataError, match="key 'a' stands twice"):
        parse_citations({"schema": 1, "citations": [entry, entry]}, "c.yaml")
    with pytest.raises(DataError, match="year must be int"):
        parse_citations({"schema": 1, "citations": [{**entry, "year": "2020"}]}, "c.yaml")
    with pytest.raises(DataError, match="a mapping is needed"):
        parse_citations([entry], "c.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"authors": "A B"}, r"c.yaml, citation 1 \(a\): authors must be a list of names, not 'A B'"),
        ({"authors": ["A B", 3]}, "authors must be a list of names"),
        ({"authors": [" "]}, "authors must be a list of names"),
        ({"key": "a}, b"}, "c.yaml, citation 1: key 'a}, b' has other than letters, digits"),
        ({"arxiv": "1}"}, "arxiv '1}' has other than letters, digits"),
    ],
)
def test_what_tex_would_act_on_is_refused(change: dict[str, Any], message: str) -> None:
    entry = {"key": "a", "title": "A", "authors": ["A B"], "venue": "V", "year": 2020, "arxiv": None, "checked": True}
    with pytest.raises(DataError, match=message):
        parse_citations({"schema": 1, "citations": [{**entry, **change}]}, "c.yaml")


def test_errors_call_a_file_what_they_are_told() -> None:
    with pytest.raises(DataError, match=r"^here/good\.yml: title is missing$"):
        parse_source(changed(["title"], ...), "good", CITATIONS, "here/good.yml")
