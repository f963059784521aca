"""A list where one value belongs is an axis; axes make cells and variants, named as shortly as can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_cases import cell_of, variants_of

from noisybench.suite import Suite
from noisybench.suite.axes import labels, short_names, text_of

BODY = "model: mlp\nmethods: {SGD: {}}\n"


def sides(suite: Suite, side: str) -> list[str]:
    return list(dict.fromkeys(cell[side] for cell in suite.expand().cells))


@pytest.mark.parametrize(
    ("noise", "names"),
    [
        ("{kind: symmetric, rate: 0.2}", ["symmetric 0.2"]),
        ("{kind: symmetric, rate: [0.4, 0]}", ["symmetric 0.4", "symmetric 0"]),
        ("clean", ["clean"]),
        ("[clean, {kind: symmetric, rate: [0.1, 0.2]}]", ["clean", "symmetric 0.1", "symmetric 0.2"]),
        (
            "{kind: [symmetric, asymmetric], rate: [0.1, 0.2]}",
            ["symmetric 0.1", "symmetric 0.2", "asymmetric 0.1", "asymmetric 0.2"],
        ),
        (
            "{kind: symmetric, flip: [exclusive, inclusive], rate: 0.2}",
            ["symmetric 0.2[flip=exclusive]", "symmetric 0.2[flip=inclusive]"],
        ),
        ("{kind: symmetric, rate: 0.2, seed: [0, 1]}", ["symmetric 0.2[seed=0]", "symmetric 0.2[seed=1]"]),
    ],
)
def test_noise_axes(load: Callable[..., Suite], noise: str, names: list[str]) -> None:
    assert sides(load(f"name: t\ndataset: digits\nnoise: {noise}\n{BODY}"), "noise") == names


def test_a_suite_without_noise_is_clean(load: Callable[..., Suite]) -> None:
    assert sides(load(f"name: t\ndataset: digits\n{BODY}"), "noise") == ["clean"]


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("{name: digits, train_subset: [500, 900]}", ["digits[train_subset=500]", "digits[train_subset=900]"]),
        ("[digits, {name: digits, validation: 0.1}]", ["digits[validation=0]", "digits[validation=0.1]"]),
        ("[digits, {name: synthetic}]", ["digits", "synthetic"]),
        ("{name: npz, path: [a/x.npz, b/y.npz]}", ["x", "y"]),
    ],
)
def test_data_set_axes(load: Callable[..., Suite], dataset: str, names: list[str]) -> None:
    assert sides(load(f"name: t\ndataset: {dataset}\n{BODY}"), "dataset") == names


def test_model_axes(load: Callable[..., Suite]) -> None:
    text = "name: t\ndataset: digits\nmodel: [small_cnn, {name: mlp, width: [8, 16]}]\nmethods: {SGD: {}}\n"
    assert sides(load(text), "model") == ["small_cnn", "mlp[width=8]", "mlp[width=16]"]


def test_cells_come_as_written_the_data_set_outermost(load: Callable[..., Suite]) -> None:
    suite = load(
        "name: t\ndataset: [synthetic, digits]\nmodel: [mlp, small_cnn]\n"
        "noise: {kind: symmetric, rate: [0.4, 0.2]}\nmethods: {Z: {}, A: {epochs: 3}}\n"
    )
    cells = [(c["dataset"], c["noise"], c["model"], c["method"]) for c in suite.expand().cells]
    assert cells == [
        (d, n, m, v)
        for d in ("synthetic", "digits")
        for n in ("symmetric 0.4", "symmetric 0.2")
        for m in ("mlp", "small_cnn")
        for v in ("Z", "A")
    ]


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("{mixup: {alpha: [1, 8]}}", ["A[alpha=1]", "A[alpha=8]"]),
        ("{mixup: {alpha: [8]}}", ["A[alpha=8]"]),
        ("{mixup: [null, {alpha: 8}]}", ["A[mixup=null]", "A[mixup=on]"]),
        ("{averaging: {decay: [0.9, 0.99]}}", ["A[decay=0.9]", "A[decay=0.99]"]),
        (
            "{averaging: [null, {kind: ema}, {kind: swa}]}",
            ["A[averaging=null]", "A[averaging=ema]", "A[averaging=swa]"],
        ),
        ("{loss: [ce, gce]}", ["A[loss=ce]", "A[loss=gce]"]),
        ("{loss: {name: gce, q: [0.1, 1]}}", ["A[q=0.1]", "A[q=1]"]),
        ("{loss: [ce, {name: gce, q: [0.1, 1]}]}", ["A[loss=ce]", "A[loss=gce, q=0.1]", "A[loss=gce, q=1]"]),
        ("{optimizer: {lr: [1e-3, 0.1]}}", ["A[lr=0.001]", "A[lr=0.1]"]),
        ("{optimizer: {name: sam, lr: [1, 2]}}", ["A[lr=1]", "A[lr=2]"]),
        ("{optimizer: {name: sam, base: [sgd, adamw]}}", ["A[base=sgd]", "A[base=adamw]"]),
        ("{optimizer: {name: [sam, asam], rho: 0.3}}", ["A[optimizer=sam]", "A[optimizer=asam]"]),
        (
            "{optimizer: [{name: sam, rho: 0.1}, {name: sam, rho: 0.2}]}",
            ["A[optimizer=sam[rho=0.1]]", "A[optimizer=sam[rho=0.2]]"],
        ),
        ("{epochs: [2, 3], mixup: {alpha: [1, 2]}}", None),
        ("{augment: [[flip], [crop, flip]]}", ["A[augment=[flip]]", "A[augment=[crop,flip]]"]),
        ("{augment: [crop, flip]}", ["A"]),
        ("{augment: []}", ["A"]),
        ("{schedule: {name: multistep, milestones: [5, 8]}}", ["A"]),
        (
            "{schedule: {name: multistep, milestones: [[5, 8], [9]]}}",
            ["A[milestones=[5,8]]", "A[milestones=[9]]"],
        ),
        ("{drop_last: [true, false]}", ["A[drop_last=true]", "A[drop_last=false]"]),
        ("{clip: [null, 5]}", ["A[clip=null]", "A[clip=5]"]),
    ],
)
def test_method_axes(methods: Callable[..., Suite], entry: str, names: list[str] | None) -> None:
    expected = names or ["A[epochs=2, alpha=1]", "A[epochs=2, alpha=2]", "A[epochs=3, alpha=1]", "A[epochs=3, alpha=2]"]
    assert variants_of(methods(f"  A: {entry}\n")) == expected


def test_entries_of_an_axis_are_each_laid_over_the_suite(methods: Callable[..., Suite]) -> None:
    suite = methods("  A: {optimizer: [{lr: 0.2}, {name: sam}]}\ntraining: {optimizer: {momentum: 0.4}}\n")
    first, second = (cell["settings"]["training"]["optimizer"] for cell in suite.expand().cells)
    assert (first["name"], first["lr"], first["momentum"]) == ("sgd", 0.2, 0.4)
    assert second["base"]["momentum"] == 0.4


def test_choose_holds_where_there_is_something_to_choose(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  A: {mixup: {alpha: [1, 2]}, choose: best}\n"
        "  A1: {mixup: {alpha: [1]}, choose: best}\n"
        "  B: {choose: best}\n"
        "  C: {published: D}\n"
    )
    assert cell_of(suite, "A1[alpha=1]")["choose"] == "best"
    assert cell_of(suite, "A[alpha=1]")["choose"] == "best"
    assert cell_of(suite, "A[alpha=1]")["method"] == "A"
    assert cell_of(suite, "B")["choose"] is None
    assert (cell_of(suite, "B")["published"], cell_of(suite, "C")["published"]) == (None, "D")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["method.mixup.alpha"], ["alpha"]),
        (["method.mixup.alpha", "method.loss.alpha"], ["mixup.alpha", "loss.alpha"]),
        (["a.b", "b"], ["a.b", "b"]),
        (["a.x.lr", "b.x.lr", "rho"], ["a.x.lr", "b.x.lr", "rho"]),
    ],
)
def test_short_names(paths: list[str], names: list[str]) -> None:
    assert list(short_names(paths).values()) == names


def test_ambiguous_keys_are_told_apart(methods: Callable[..., Suite]) -> None:
    names = variants_of(methods("  A: {mixup: {alpha: [1, 2]}, loss: {name: sce, alpha: [0.1, 1]}}\n"))
    assert names[0] == "A[loss.alpha=0.1, mixup.alpha=1]"
    assert len(names) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8, "8"),
        (8.0, "8"),
        (5e-4, "0.0005"),
        (True, "true"),
        (None, "null"),
        ([60, 80], "[60,80]"),
        ({"a": 1}, "{a:1}"),
    ],
)
def test_values_are_written_shortly(value: object, text: str) -> None:
    assert text_of(value) == text


def test_labels_say_what_differs_among_equals_only() -> None:
    entries = [{"n": "a", "w": 1, "d": 2}, {"n": "b", "w": 1}, {"n": "a", "w": 3, "d": 2}]
    assert labels(entries, lambda entry: entry["n"]) == ["a[w=1]", "b", "a[w=3]"]
