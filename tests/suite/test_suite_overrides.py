"""Overrides: where they hold, what they may set, skipping, and marks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_cases import EXAMPLE, cell_of

from noisybench.errors import SuiteError
from noisybench.suite import Suite
from noisybench.suite.overrides import value_at

RULE = "  - {when: {method: [SAM, Bootstrap + SAM], noise.rate: 0.8}, set: {optimizer.rho: 0.05}}\n"


def with_rules(load: Callable[..., Suite], *rules: str) -> Suite:
    assert RULE in EXAMPLE
    return load(EXAMPLE.replace(RULE, "".join(f"  - {rule}\n" for rule in rules)))


def rho(suite: Suite, variant: str, noise: str) -> float:
    found: float = cell_of(suite, variant, noise=noise)["settings"]["training"]["optimizer"]["rho"]
    return found


def test_it_holds_where_all_conditions_do_and_nowhere_else(load: Callable[..., Suite]) -> None:
    suite = load(EXAMPLE)
    for variant in ("SAM", "Bootstrap + SAM"):
        assert rho(suite, variant, "symmetric 0.8") == 0.05
        assert rho(suite, variant, "symmetric 0.2") == 0.1
    marked = [(c["variant"], c["noise"]) for c in suite.expand().cells if c["marks"] == ["rate-aware"]]
    assert marked == [("SAM", "symmetric 0.8"), ("Bootstrap + SAM", "symmetric 0.8")]


@pytest.mark.parametrize(
    ("when", "cells"),
    [
        ("{method: SGD}", 2),
        ("{method: Mixup}", 4),
        ("{method: 'Mixup[alpha=8]'}", 2),
        ("{method: [Mixup, SGD]}", 6),
        ("{noise.rate: [0.2, 0.8]}", 10),
        ("{noise: {kind: symmetric, rate: 0.2}}", 5),
        ("{noise: symmetric}", 10),
        ("{noise: symmetric 0.2}", 5),
        ("{noise.flip: exclusive}", 10),
        ("{optimizer: sam}", 4),
        ("{optimizer.lr: 0.1}", 10),
        ("{optimizer.base.lr: 0.1}", 4),
        ("{training.optimizer.name: sam}", 4),
        ("{mixup.alpha: 8}", 2),
        ("{mixup: {alpha: [1, 8]}}", 4),
        ("{mixup: null}", 6),
        ("{method.loss: ce}", 10),
        ("{relabel: SAM}", 2),
        ("{epochs: 10, model: mlp, dataset: digits}", 10),
        ("{augment: []}", None),
        ("{augment: [[]]}", 10),
        ("{model.width: 512}", 10),
    ],
)
def test_conditions(load: Callable[..., Suite], when: str, cells: int | None) -> None:
    rule = f"{{when: {when}, set: {{batch_size: 7}}}}"
    if cells is None:
        with pytest.raises(SuiteError, match="at least one value"):
            with_rules(load, rule)
        return
    found = [c for c in with_rules(load, rule).expand().cells if c["settings"]["training"]["batch_size"] == 7]
    assert len(found) == cells


def test_later_rules_win_and_see_what_earlier_ones_did(load: Callable[..., Suite]) -> None:
    suite = with_rules(
        load,
        "{when: {method: SAM}, set: {optimizer.rho: 0.3}}",
        "{when: {method: SAM}, set: {optimizer.rho: 0.4}}",
        "{when: {optimizer.rho: 0.4}, set: {epochs: 99}}",
    )
    assert rho(suite, "SAM", "symmetric 0.2") == 0.4
    assert cell_of(suite, "SAM", noise="symmetric 0.2")["settings"]["training"]["epochs"] == 99
    with pytest.raises(SuiteError, match=r"no run has optimizer.rho = 0.3; there are: 0.4, 0.1"):
        with_rules(
            load,
            "{when: {method: SAM}, set: {optimizer.rho: 0.3}}",
            "{when: {method: SAM}, set: {optimizer.rho: 0.4}}",
            "{when: {optimizer.rho: 0.3}, set: {epochs: 99}}",
        )


def test_it_may_set_model_and_whole_components(load: Callable[..., Suite]) -> None:
    suite = with_rules(
        load, "{when: {method: SGD}, set: {model: {width: 32}, loss: {name: gce, q: 0.5}, optimizer: {name: sam}}}"
    )
    settings = cell_of(suite, "SGD", noise="symmetric 0.2")["settings"]
    assert settings["model"]["width"] == 32
    assert settings["method"]["loss"] == {"name": "gce", "q": 0.5}
    assert settings["training"]["optimizer"]["base"]["lr"] == 0.1
    assert cell_of(suite, "SGD", noise="symmetric 0.2")["marks"] == []


def test_it_may_set_a_list_that_fits_its_field(load: Callable[..., Suite]) -> None:
    suite = with_rules(load, "{when: {method: SGD}, set: {augment: [flip]}}")
    assert cell_of(suite, "SGD", noise="symmetric 0.2")["settings"]["training"]["augment"] == [{"name": "flip"}]


@pytest.mark.parametrize("path", ["noise.rate: 0.8", "noise.kind: symmetric", "noise: symmetric"])
def test_naming_rate_or_kind_marks_the_cells(load: Callable[..., Suite], path: str) -> None:
    suite = with_rules(load, f"{{when: {{{path}, method: SGD}}, set: {{epochs: 5}}}}")
    marked = {c["variant"] for c in suite.expand().cells if c["marks"] == ["rate-aware"]}
    assert marked == {"SGD"}


def test_skip_removes_runs_and_is_not_rate_aware(load: Callable[..., Suite]) -> None:
    suite = with_rules(
        load, "{when: {method: Mixup, noise.rate: 0.8}, skip: true}", "{when: {method: SGD, seed: 1}, skip: true}"
    )
    expansion = suite.expand()
    assert len(expansion.cells) == 8
    assert len(expansion.runs) == 20 - 4 - 2
    assert list(cell_of(suite, "SGD", noise="symmetric 0.2")["runs"]) == ["0"]
    assert not any(cell["marks"] for cell in expansion.cells)


def test_a_student_whose_teacher_is_skipped_is_an_error(load: Callable[..., Suite]) -> None:
    with pytest.raises(SuiteError, match=r"s\.yaml:13: .*needs the runs of SAM.* override skips \(.*s\.yaml:15\)"):
        with_rules(load, "{when: {method: SAM, noise.rate: 0.8}, skip: true}")
    assert with_rules(load, "{when: {method: [SAM, Bootstrap + SAM], noise.rate: 0.8}, skip: true}").expand().runs


def test_skipping_everything_is_an_error(load: Callable[..., Suite]) -> None:
    with pytest.raises(SuiteError, match="every run is skipped"):
        with_rules(load, "{when: {dataset: digits}, skip: true}")


def test_conditions_that_hold_apart_but_not_together_match_nothing(load: Callable[..., Suite]) -> None:
    with pytest.raises(SuiteError, match=r"s\.yaml:15: .*no run meets all its conditions together"):
        with_rules(load, "{when: {method: SGD, optimizer: sam}, set: {epochs: 5}}")


def test_it_may_name_another_teacher(load: Callable[..., Suite]) -> None:
    rule = "{when: {method: Bootstrap + SAM}, set: {relabel: %s}}"
    suite = with_rules(load, rule % "SGD")
    student = cell_of(suite, "Bootstrap + SAM", noise="symmetric 0.2")
    assert (
        suite.expand().specs[student["runs"]["0"]].teacher == cell_of(suite, "SGD", noise="symmetric 0.2")["runs"]["0"]
    )
    assert (
        cell_of(with_rules(load, rule % "null"), "Bootstrap + SAM", noise="symmetric 0.2")["settings"]["method"][
            "relabel"
        ]
        is None
    )
    with pytest.raises(SuiteError, match="several variants; name one of: Mixup"):
        with_rules(load, rule % "Mixup")
    with pytest.raises(SuiteError, match="circle"):
        with_rules(load, rule % "Bootstrap + SAM")
    with pytest.raises(SuiteError, match="circle: SAM -> Bootstrap"):
        with_rules(load, "{when: {method: SAM}, set: {relabel: Bootstrap + SAM}}")


def test_values_are_looked_for_in_a_wrapper_then_in_what_it_wraps() -> None:
    data = {"a": {"name": "sam", "rho": 1, "base": {"name": "sgd", "lr": 2}}, "m": {9: 1}}
    assert value_at(data, "a.rho") == (True, 1)
    assert value_at(data, "a.lr") == (True, 2)
    assert value_at(data, "a.name") == (True, "sam")
    assert value_at(data, "m.9") == (True, 1)
    assert value_at(data, "a.nothing") == (False, None)
