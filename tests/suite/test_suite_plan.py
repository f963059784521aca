"""``plan.json``: what an edited suite may change, and what it may not without saying so."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from suite_cases import EXAMPLE

from noisybench.errors import PlanConflict, StoreError
from noisybench.suite import Suite, build_plan, check_plan, load_suite, smoke_suite
from noisybench.suite.plan import join_plans


def plan_of(suite: Suite) -> dict[str, Any]:
    """As it comes back from disk."""
    stored: dict[str, Any] = json.loads(json.dumps(build_plan(suite.expand())))
    return stored


def test_the_plan_is_what_the_report_reads(load: Callable[..., Suite]) -> None:
    plan = plan_of(load(EXAMPLE))
    assert list(plan) == [
        *("schema", "suite", "version", "description", "recipe", "smoke", "synthetic", "seeds", "report", "cells"),
    ]
    assert (plan["schema"], plan["suite"], plan["version"], plan["recipe"]) == (1, "example", 1, "common")
    assert plan["report"] == {"accuracy": "last", "compare": []}
    cell = plan["cells"][1]
    assert (cell["dataset"], cell["noise"], cell["model"]) == ("digits", "symmetric 0.2", "mlp")
    assert (cell["method"], cell["variant"], cell["choose"]) == ("Mixup", "Mixup[alpha=1]", "best")
    assert (cell["published"], cell["marks"]) == (None, [])
    assert set(cell["settings"]) == {"dataset", "noise", "model", "training", "method"}
    assert set(cell["runs"]) == {"0", "1"}


def test_a_plan_is_a_copy(load: Callable[..., Suite]) -> None:
    expansion = load(EXAMPLE).expand()
    plan = build_plan(expansion)
    plan["cells"][0]["runs"].clear()
    assert build_plan(expansion)["cells"][0]["runs"]


def test_the_first_plan_and_the_same_plan_are_taken(load: Callable[..., Suite]) -> None:
    plan = plan_of(load(EXAMPLE))
    assert check_plan(None, plan) == plan
    assert check_plan(plan, copy.deepcopy(plan)) == plan


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds: 2", "seeds: 3"),
        ("seeds: 2", "seeds: [1, 0, 7]"),
        ("rate: [0.2, 0.8]", "rate: [0.1, 0.2, 0.8]"),
        ("noise: {kind: symmetric, rate: [0.2, 0.8]}", "noise: [clean, {kind: symmetric, rate: [0.8, 0.2]}]"),
        ("rate: [0.2, 0.8]", "flip: [exclusive, inclusive], rate: [0.2, 0.8]"),  # labels change, runs do not
        ("dataset: digits", "dataset: {name: digits, train_subset: [null, 500]}"),
        ("model: mlp", "model: [mlp, small_cnn]"),
        ("alpha: [1, 8]", "alpha: [1, 8, 16]"),
        ("optimizer: {name: sgd, lr: 0.1}", "optimizer: {name: sgd, lr: 0.1}\n  schedule: cosine"),
        ("  SGD: {}", "  GCE: {loss: gce}\n  SGD: {}"),
        ("name: example", "name: example\ndescription: now described"),
        ("epochs: 10", "epochs: 10 # as before\n  batch_size: 128"),
    ],
)
def test_seeds_and_cells_may_be_added(load: Callable[..., Suite], old: str, new: str) -> None:
    before, after = plan_of(load(EXAMPLE)), plan_of(load(EXAMPLE.replace(old, new)))
    assert check_plan(before, after) == after


def test_how_a_plan_was_made_makes_no_other_plan(load: Callable[..., Suite]) -> None:
    expansion = load(EXAMPLE).expand()
    before, after = (build_plan(expansion, [name, "--name", "example"]) for name in ("mine.yaml", "yours.yaml"))
    assert check_plan(before, after) == after
    assert check_plan(build_plan(expansion), after) == after
    assert {key: value for key, value in after.items() if key != "again"} == build_plan(expansion)


def test_parts_keep_the_command_that_made_them_all_and_no_other(load: Callable[..., Suite]) -> None:
    expansions = [load(EXAMPLE.replace("seeds: 2", f"seeds: [{seed}]")).expand() for seed in range(3)]
    one, two, three = (build_plan(e, ["x.yaml", "--set", f"seeds=[{i}]"]) for i, e in enumerate(expansions))
    for parts in ([one, two], [two, one], [one, two, one], [build_plan(expansions[0]), two], [one, two, three]):
        whole = functools.reduce(join_plans, parts)
        assert "again" not in whole
        assert set(whole["cells"][0]["runs"]) == {seed for part in parts for seed in part["cells"][0]["runs"]}
    same = [build_plan(e, ["x.yaml", "--name", "mine"]) for e in expansions]
    assert functools.reduce(join_plans, same)["again"] == ["x.yaml", "--name", "mine"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds: 2", "seeds: 1", "seed 1 is gone"),
        ("epochs: 10", "epochs: 11", "training.epochs was 10, is 11"),
        ("lr: 0.1", "lr: 0.2", "lr was 0.1, is 0.2"),
        ("rate: [0.2, 0.8]", "rate: [0.8]", "symmetric 0.2 / mlp / SGD is gone"),
        ("  SGD: {}\n", "", "SGD is gone"),
        ("SGD: {}", "Plain SGD: {}", "SGD is gone"),
        ("choose: best", "choose: null", "'choose' was best, is null"),
        ("SGD: {}", "SGD: {published: CE}", "'published' was null, is CE"),
        ("accuracy: last", "accuracy: best", "report.accuracy was last, is best"),
        ("accuracy: last", "accuracy: last, compare: [gce2018]", "report.compare was [], is [gce2018]"),
        ("seeds: 2", "seeds: 2\nrecipe: authors", "recipe was common, is authors"),
        ("rho: 0.05", "rho: 0.06", "optimizer.rho was 0.05, is 0.06"),
        ("relabel: SAM", "relabel: SGD", "method.relabel was SAM, is SGD"),
        ("dataset: digits", "dataset: {name: digits, train_subset: 500}", "train_subset was null, is 500"),
    ],
)
def test_anything_else_is_refused_with_both_remedies(load: Callable[..., Suite], old: str, new: str, says: str) -> None:
    before, text = plan_of(load(EXAMPLE)), EXAMPLE.replace(old, new)
    with pytest.raises(PlanConflict) as caught:
        check_plan(before, plan_of(load(text)))
    message = str(caught.value)
    assert says in message
    assert "--name NEW" in message
    assert "raise 'version' above 1 (in the file, or with --set version=2)" in message
    assert message.endswith("what did not change is kept, only the changed runs are trained")
    assert "\n" not in message
    assert caught.value.exit_code == 2
    after = plan_of(load(text.replace("name: example", "name: example\nversion: 2")))
    assert check_plan(before, after) == after
    with pytest.raises(PlanConflict, match="version is 1"):
        check_plan(after, before)


def test_two_suites_of_one_name_are_two_plans(load: Callable[..., Suite]) -> None:
    other = "name: example\ndataset: digits\nmodel: small_cnn\nmethods: {GCE: {loss: gce}}\n"
    with pytest.raises(PlanConflict, match="is gone"):
        check_plan(plan_of(load(EXAMPLE)), plan_of(load(other)))


def test_another_name_makes_another_plan(load: Callable[..., Suite], tmp_path: Any) -> None:
    load(EXAMPLE)
    suite = load_suite(tmp_path / "s.yaml", name="other")
    assert plan_of(suite)["suite"] == "other"
    with pytest.raises(PlanConflict, match="suite was example, is other"):
        check_plan(plan_of(load(EXAMPLE)), plan_of(suite))


def test_changed_code_behind_equal_settings_is_named(load: Callable[..., Suite]) -> None:
    plan = plan_of(load(EXAMPLE))
    edited = copy.deepcopy(plan)
    edited["cells"][0]["runs"]["0"] += "x"
    with pytest.raises(
        PlanConflict, match="SGD: what is behind its runs has changed: a component's version, a plug-in"
    ):
        check_plan(plan, edited)


def test_smoke_plans_replace_each_other_and_nothing_else(load: Callable[..., Suite]) -> None:
    suite, edited = load(EXAMPLE), load(EXAMPLE.replace("lr: 0.1", "lr: 0.2"))
    here, away = plan_of(smoke_suite(suite)), plan_of(smoke_suite(edited, available=lambda block: False))
    assert check_plan(here, away) == away
    whole = {**plan_of(suite), "suite": "example-smoke"}
    with pytest.raises(PlanConflict, match="smoke was false, is true"):
        check_plan(whole, here)


def test_a_damaged_plan_is_named(load: Callable[..., Suite]) -> None:
    plan = plan_of(load(EXAMPLE))
    for broken in ({}, {"version": 1}, {**plan, "cells": [{}]}, {**plan, "version": "x"}, {**plan, "report": None}):
        with pytest.raises(StoreError, match=r"damaged.*records are kept"):
            check_plan(broken, plan)
