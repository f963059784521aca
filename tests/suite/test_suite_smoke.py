"""``--smoke``: the same cells, tiny, under another name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_cases import EXAMPLE, cell_of

from noisybench.suite import Suite, build_plan, load_suite, shipped_suites, smoke_suite
from noisybench.suite.smoke import scale


def test_it_keeps_the_cells_and_shrinks_the_rest(load: Callable[..., Suite]) -> None:
    suite = load(EXAMPLE)
    smoke = smoke_suite(suite)
    plan = build_plan(smoke.expand())
    assert (smoke.name, plan["suite"], plan["smoke"], plan["synthetic"]) == (
        "example-smoke",
        "example-smoke",
        True,
        False,
    )
    assert plan["seeds"] == [0]
    assert [(c["noise"], c["variant"]) for c in plan["cells"]] == [
        (c["noise"], c["variant"]) for c in suite.expand().cells
    ]
    for cell in plan["cells"]:
        training, dataset = cell["settings"]["training"], cell["settings"]["dataset"]
        assert training["epochs"] == 3
        assert training["batch_size"] <= 32
        assert (dataset["train_subset"], dataset["test_subset"]) == (200, 100)
        assert list(cell["runs"]) == ["0"]
    assert len(smoke.expand().runs) == 10
    assert {spec.run_id for spec in smoke.expand().runs}.isdisjoint(suite.expand().specs)
    assert load(EXAMPLE).expand().cells == suite.expand().cells


def test_students_still_follow_their_teachers(load: Callable[..., Suite]) -> None:
    smoke = smoke_suite(load(EXAMPLE))
    student = cell_of(smoke, "Bootstrap + SAM", noise="symmetric 0.8")["runs"]["0"]
    assert smoke.expand().specs[student].teacher == cell_of(smoke, "SAM", noise="symmetric 0.8")["runs"]["0"]


def test_smaller_suites_stay_as_small_as_they_are(load: Callable[..., Suite]) -> None:
    text = EXAMPLE.replace("dataset: digits", "dataset: {name: digits, train_subset: 50}")
    text = text.replace("epochs: 10", "epochs: 2\n  batch_size: 5")
    settings = smoke_suite(load(text)).expand().cells[0]["settings"]
    assert settings["dataset"]["train_subset"] == 50
    assert (settings["training"]["epochs"], settings["training"]["batch_size"]) == (2, 5)


@pytest.mark.parametrize(
    ("value", "before", "scaled"),
    [
        (0, 200, 0),
        (1, 200, 1),
        (60, 200, 1),
        (100, 200, 2),
        (199, 200, 2),
        (200, 200, 3),
        (300, 200, 5),
        ([60, 120, 160], 200, [1, 2, 2]),
        ([], 200, []),
        (None, 200, None),
        (True, 200, True),
        ([[10], [150]], 200, [[1], [2]]),
    ],
)
def test_epochs_scale_up_and_leave_the_last_phase_an_epoch(value: object, before: int, scaled: object) -> None:
    assert scale(value, before, 3) == scaled


def test_nothing_scales_in_a_run_of_three_epochs_or_fewer() -> None:
    assert scale([1, 2], 3, 3) == [1, 2]
    assert scale(9, 2, 2) == 9


@pytest.mark.usefixtures("toys")
def test_parameters_counted_in_epochs_scale_with_the_run(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  A: {algorithm: {name: toy, burn_in: 120, phases: [50, 150]}, warmup: 5}\n"
        "  B: {schedule: {name: multistep, milestones: [60, 120, 160]}}\n"
        "  C: {schedule: {name: step, every: 30}, epochs: 3}\n"
    )
    smoke = smoke_suite(suite)
    a = cell_of(smoke, "A")["settings"]
    assert (a["method"]["algorithm"]["burn_in"], a["method"]["algorithm"]["phases"]) == (2, [1, 2 + 0])
    assert a["training"]["warmup"] == 1
    assert cell_of(smoke, "B")["settings"]["training"]["schedule"]["milestones"] == [1, 2, 2]
    assert cell_of(smoke, "C")["settings"]["training"]["schedule"]["every"] == 30


def test_a_data_set_that_is_not_here_becomes_synthetic(load: Callable[..., Suite]) -> None:
    text = EXAMPLE.replace("dataset: digits", "dataset: [cifar10, digits]")
    smoke = smoke_suite(load(text), available=lambda block: block["name"] != "cifar10")
    plan = build_plan(smoke.expand())
    assert plan["synthetic"]
    assert plan["report"]["compare"] == []
    names = [cell["settings"]["dataset"]["name"] for cell in plan["cells"]]
    assert names == ["synthetic"] * 10 + ["digits"] * 10
    block = plan["cells"][0]["settings"]["dataset"]
    assert (block["channels"], block["height"], block["width"], block["num_classes"]) == (3, 32, 32, 10)
    assert (block["train_subset"], block["test_subset"]) == (200, 100)
    assert plan["cells"][0]["dataset"] == "cifar10"


def test_overrides_and_skips_by_seed_still_count(load: Callable[..., Suite]) -> None:
    text = EXAMPLE.replace("report:", "  - {when: {seed: 1, method: SGD}, skip: true}\nreport:")
    assert len(smoke_suite(load(text)).expand().runs) == 10
    text = text.replace("seed: 1", "seed: 0")
    assert len(smoke_suite(load(text)).expand().runs) == 8


@pytest.mark.parametrize("name", [suite.name for suite in shipped_suites()])
def test_every_shipped_suite_can_be_made_tiny(name: str) -> None:
    suite = load_suite(name)
    smoke = smoke_suite(suite, available=lambda block: False)
    assert len(smoke.expand().cells) == len(suite.expand().cells)
    assert all(len(cell["runs"]) == 1 for cell in smoke.expand().cells)
    twins = {"SGD, twice the epochs", "SGD, 400 epochs", "Mixup (literature)"}  # equal to another row once tiny
    without_twins = [cell for cell in smoke.expand().cells if cell["method"] not in twins]
    assert len(smoke.expand().runs) == len(without_twins)


def test_a_long_name_stays_a_name(load: Callable[..., Suite]) -> None:
    suite = load(EXAMPLE.replace("name: example", "name: " + "x" * 64))
    assert smoke_suite(suite).name == "x" * 58 + "-smoke"
