"""Suites that Hypothesis makes: valid ones from every kind of part, and the same ones broken in one known place."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import strategies as st

RATES = st.floats(0.05, 0.9).map(lambda rate: round(rate, 3))
SMALL = st.integers(1, 200)


def _axis(values: st.SearchStrategy[Any], limit: int = 3) -> st.SearchStrategy[Any]:
    """One value, or a list of different ones."""
    return values | st.lists(values, min_size=1, max_size=limit, unique=True)


DATASET = st.one_of(
    st.sampled_from(["digits", "cifar10", "cifar100", {"name": "synthetic"}]),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["digits", "cifar10"])},
        optional={
            "train_subset": st.integers(100, 1000),
            "test_subset": st.integers(50, 300),
            "validation": st.floats(0.05, 0.5).map(lambda share: round(share, 2)),
            "subset_seed": st.integers(0, 9),
        },
    ),
)
NOISE = st.one_of(
    st.sampled_from(["clean"]),
    st.fixed_dictionaries(
        {"kind": st.just("symmetric"), "rate": _axis(RATES)},
        optional={
            "flip": st.sampled_from(["exclusive", "inclusive"]),
            "count": _axis(st.sampled_from(["exact", "independent"])),
            "seed": st.none() | st.integers(0, 99),
        },
    ),
    st.fixed_dictionaries(
        {"kind": st.just("pairflip"), "rate": _axis(st.floats(0.05, 0.45).map(lambda r: round(r, 2)))}
    ),
)
MODEL = st.one_of(
    st.sampled_from(["mlp", "resnet32", "small_cnn"]),
    st.fixed_dictionaries({"name": st.just("mlp"), "width": _axis(SMALL)}),
    st.just([{"name": "mlp", "width": 8}, "small_cnn"]),
)
LEARNING_RATE = st.floats(1e-4, 1.0).map(lambda rate: float(f"{rate:.3g}"))
OPTIMIZER = st.one_of(
    st.sampled_from(["sgd", "adam", "sam", "asam"]),
    st.fixed_dictionaries({"name": st.just("sgd")}, optional={"lr": LEARNING_RATE, "momentum": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"name": st.just("sam"), "rho": st.floats(0, 1)}, optional={"lr": LEARNING_RATE}),
)
TRAINING = st.fixed_dictionaries(
    {},
    optional={
        "epochs": SMALL,
        "batch_size": st.integers(2, 512),
        "optimizer": OPTIMIZER,
        "schedule": st.sampled_from(["cosine", "constant", {"name": "multistep", "milestones": [1, 2]}]),
        "augment": st.sampled_from([[], ["crop"], ["crop", "flip"], [{"crop": {"padding": 2}}, "flip"]]),
        "clip": st.none() | st.floats(0.1, 10),
        "warmup": st.just(0),
        "drop_last": st.booleans(),
    },
)
METHOD = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "loss": st.sampled_from(["ce", "gce", "mae", {"name": "gce", "q": 0.5}, {"name": "gce", "q": [0.3, 0.9]}]),
            "mixup": st.none() | st.fixed_dictionaries({"alpha": _axis(st.integers(1, 32))}),
            "optimizer": st.fixed_dictionaries({"lr": _axis(LEARNING_RATE)})
            | st.fixed_dictionaries({"name": st.just("sam"), "rho": _axis(st.floats(0, 1))}),
            "epochs": SMALL,
        },
    ),
    st.sampled_from(
        [{"algorithm": "coteaching"}, {"algorithm": {"name": "elr"}}, {"averaging": {"kind": "ema"}}, {"loss": "sce"}]
    ),
)
NAME = st.from_regex(r"[A-Za-zäöü雪][A-Za-z0-9+ ,.:#'&%@!*-]{0,12}[a-z0-9+]", fullmatch=True)


@st.composite
def suites(draw: st.DrawFn) -> dict[str, Any]:
    """A suite that must load."""
    suite: dict[str, Any] = {
        "name": draw(st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)),
        "dataset": draw(DATASET),
        "noise": draw(NOISE),
        "model": draw(MODEL),
        "training": draw(TRAINING),
        "methods": draw(st.dictionaries(NAME, METHOD, min_size=1, max_size=4)),
    }
    suite |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "version": st.integers(1, 9),
                "description": st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=40),
                "recipe": st.sampled_from(["common", "authors"]),
                "seeds": st.integers(1, 3) | st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True),
                "report": st.sampled_from([{"accuracy": "last10"}, {"accuracy": "best"}, {}]),
            },
        )
    )
    first = next(iter(suite["methods"]))
    if draw(st.booleans()):
        suite["overrides"] = [{"when": {"method": first}, "set": {"training.epochs": draw(SMALL)}}]
    if draw(st.booleans()) and "Student" not in suite["methods"]:
        suite["methods"]["Student"] = {"relabel": first}
    return suite


def text_of(suite: dict[str, Any], flow: bool | None = False) -> str:
    """YAML in block style, flow style, or PyYAML's own mixture (None)."""
    return str(yaml.dump(suite, Dumper=_Plain, sort_keys=False, allow_unicode=True, default_flow_style=flow))


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


STRANGE = st.sampled_from(
    [[], [[[]]], {}, "", "x", -1, 1.5, 10**30, True, None, {"a": {"b": []}}, ["a", 1], "\x1b[2J", "\0"]
)
DEMANDS: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("name",): ("", "a/b", "..", "../up", ".hidden", "a\0b", "x" * 65, 5, None, [], {}, True),
    ("version",): (0, -1, 1.5, "1", True, [1], {}),
    ("description",): (5, [], {}, True),
    ("recipe",): ("mine", 1, []),
    ("seeds",): (0, -1, 1.5, "3", True, [], {}, [0, 0], [-1], [1.5], [2**63], 10**9),
    ("dataset",): (
        "digit",
        "",
        5,
        None,
        [],
        {},
        True,
        {"name": "digits", "nmae": 1},
        {"name": "digits", "validation": 1},
    ),
    ("noise",): ("symmetric", "sym", 5, [], {}, {"kind": "symmetric", "rate": 2}, {"kind": "symmetric", "rate": "0.2"}),
    ("model",): ("mpl", "", 5, None, [], {}, True, {"name": "mlp", "width": 0}, {"name": "mlp", "width": [5, 5]}),
    ("training",): (5, [], "x", True, {"epoch": 3}, {"epochs": 0}, {"optimizer": "sdg"}, {"batch_size": "128"}),
    ("methods",): ({}, [], 5, "SGD", None, {"A": 5}, {"A[b]": {}}, {"A": {"los": "ce"}}, {"A": {"relabel": "A"}}),
    ("overrides",): (5, {}, [5], [{}], [{"when": {"method": "nobody"}, "set": {"epochs": 3}}], [{"skip": True}]),
    ("report",): (5, [], "last", {"accuracy": "first"}, {"accuracy": "validaton"}, {"compare": ["nobody2020"]}),
}
"""Key -> values that no suite may have there."""


@st.composite
def broken_suites(draw: st.DrawFn) -> dict[str, Any]:
    """A suite with one known mistake: it must not load."""
    suite = copy.deepcopy(draw(suites()))
    suite.pop("overrides", None)
    kind = draw(st.sampled_from(["value", "missing", "unknown", "deep"]))
    if kind == "value":
        (key,) = draw(st.sampled_from(sorted(DEMANDS)))
        suite[key] = draw(st.sampled_from(DEMANDS[(key,)]))
    elif kind == "missing":
        del suite[draw(st.sampled_from(["name", "dataset", "model", "methods"]))]
    elif kind == "unknown":
        suite[draw(st.sampled_from(["nme", "models", "x", "Name", "seed", "0", "training.epochs"]))] = draw(STRANGE)
    else:
        method = suite["methods"][draw(st.sampled_from(sorted(suite["methods"])))]
        method[draw(st.sampled_from(["los", "algoritm", "optimizer.", ".", "loss.name.x", "seeds", "dataset"]))] = draw(
            STRANGE
        )
    return suite
