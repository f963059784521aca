"""``noise.open_set`` and ``dataset.imbalance`` in a suite: axes, identity, errors, smoke runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_cases import EXAMPLE

from noisybench.errors import SuiteError
from noisybench.suite import Suite, build_plan, smoke_suite

NOISE = "noise: {kind: symmetric, rate: 0.2, open_set: OPEN}"
SUITE = f"""
name: open
dataset: digits
{NOISE}
model: mlp
training: {{epochs: 1}}
seeds: 1
methods: {{SGD: {{}}}}
"""


def with_open_set(text: str) -> str:
    return SUITE.replace("OPEN", text)


def test_rates_of_open_set_noise_are_an_axis_with_labels_of_their_own(load: Callable[..., Suite]) -> None:
    expansion = load(with_open_set("{rate: [0.1, 0.3], from: synthetic}")).expand()
    assert [cell["noise"] for cell in expansion.cells] == [
        "symmetric 0.2 + open-set 0.1",
        "symmetric 0.2 + open-set 0.3",
    ]
    block = expansion.runs[0].data["noise"]["open_set"]
    assert block["rate"] == 0.1
    assert block["from"]["name"] == "synthetic"
    assert block["from"]["num_classes"] == 10  # defaults are filled in
    assert len({run.run_id for run in expansion.runs}) == 2


def test_without_open_set_noise_and_long_tail_the_run_is_the_same_as_before(load: Callable[..., Suite]) -> None:
    plain = load(SUITE.replace(", open_set: OPEN", "")).expand().runs[0].run_id
    written = load(with_open_set("null").replace("dataset: digits", "dataset: {name: digits, imbalance: null}"))
    assert written.expand().runs[0].run_id == plain
    tailed = load(with_open_set("null").replace("dataset: digits", "dataset: {name: digits, imbalance: [null, 10]}"))
    ids = [run.run_id for run in tailed.expand().runs]
    assert ids[0] == plain != ids[1]


def test_where_the_other_images_lie_is_no_identity_and_their_id_is(load: Callable[..., Suite]) -> None:
    def run_id(source: str) -> str:
        return load(with_open_set(f"{{rate: 0.1, from: {source}}}")).expand().runs[0].run_id

    assert run_id("{name: npz, path: a/x.npz}") == run_id("{name: npz, path: b/x.npz}")
    assert run_id("{name: npz, path: a/x.npz}") != run_id("{name: npz, path: a/x.npz, id: other}")
    assert run_id("synthetic") == run_id("{name: synthetic, num_classes: 10}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.2", "mapping"),
        ("{rate: 0.2}", "needs 'from'"),
        ("{from: digits}", "needs 'rate'"),
        ("{rate: 1.2, from: digits}", "0 to 1"),
        ("{rate: 0.2, from: digit}", "did you mean 'digits'"),
        ("{rate: 0.2, from: {name: synthetic, clases: 3}}", "clases"),
        ("{rate: 0.2, from: digits, seed: 3}", "no key 'seed'"),
    ],
)
def test_what_cannot_be_is_one_line(load: Callable[..., Suite], text: str, words: str) -> None:
    with pytest.raises(SuiteError, match=words) as error:
        load(with_open_set(text)).expand()
    assert error.value.line == 4
    assert "\n" not in str(error.value)


def test_an_imbalance_below_one_is_refused(load: Callable[..., Suite]) -> None:
    with pytest.raises(SuiteError, match="greater than or equal to 1"):
        load(EXAMPLE.replace("dataset: digits", "dataset: {name: digits, imbalance: 0.1}")).expand()


def test_a_smoke_run_stands_in_for_missing_images(load: Callable[..., Suite]) -> None:
    suite = load(with_open_set("{rate: 0.2, from: cifar100}"))
    smoke = smoke_suite(suite, available=lambda block: block["name"] != "cifar100").expand()
    open_set = smoke.runs[0].data["noise"]["open_set"]
    assert open_set["rate"] == 0.2
    assert (open_set["from"]["name"], open_set["from"]["seed"]) == ("synthetic", 1)
    assert smoke.runs[0].data["dataset"]["name"] == "digits"
    assert build_plan(smoke)["synthetic"]
