"""``--only`` picks runs, brings their teachers along, and refuses what means nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_cases import EXAMPLE, cell_of

from noisybench.errors import InputError
from noisybench.suite import Suite, build_plan, select


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ([], 20),
        (["method=SGD"], 4),
        (["method=Mixup"], 8),
        (["method=Mixup[alpha=8]"], 4),
        (["method=SGD|SAM"], 8),
        (["method=SGD | SAM"], 8),
        (["noise.rate=0.2"], 10),
        (["noise.rate=0.20"], 10),
        (["noise.rate=0.2|0.8"], 20),
        (["seed=0"], 10),
        (["seed=0", "noise.rate=0.8", "method=SGD"], 1),
        (["method=Bootstrap + SAM"], 8),  # and the SAM runs it needs
        (["method=Bootstrap + SAM", "seed=1"], 4),
        (["optimizer=sam"], 8),
        (["training.optimizer.rho=0.05"], 4),
        (["rho=0.05"], None),
        (["loss=ce"], 20),
        (["mixup=null"], 12),
        (["mixup.alpha=8"], 4),
        (["noise=symmetric 0.2"], 10),
        (["noise.kind=symmetric"], 20),
        (["dataset=digits", "model=mlp"], 20),
        (["relabel=SAM"], 8),
        (["epochs=10"], 20),
    ],
)
def test_conditions(load: Callable[..., Suite], conditions: list[str], count: int | None) -> None:
    expansion = load(EXAMPLE).expand()
    if count is None:
        with pytest.raises(InputError, match="no run has a 'rho'"):
            select(expansion, conditions)
        return
    chosen = select(expansion, conditions)
    assert len(chosen) == count
    specs = expansion.specs
    assert all(specs[run_id].teacher in (None, *chosen) for run_id in chosen)


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        (["method=SMA"], "no method 'SMA'; did you mean 'SAM'?"),
        (["method=SGD|SMA"], "no method 'SMA'"),
        (["noise.rate=0.3"], "no run has noise.rate = 0.3; there are: 0.2, 0.8"),
        (["noise.rate=0.2|0.3"], "noise.rate = 0.3"),
        (["noise.rat=0.2"], "did you mean 'noise.rate'?"),
        (["seed=5"], "there are: 0, 1"),
        (["method"], "must be KEY=VALUE"),
        (["=SAM"], "must be KEY=VALUE"),
        (["method="], "must be KEY=VALUE"),
        (["augment=[1"], "not valid YAML"),
        (["method=SGD", "optimizer=sam"], "no run meets all conditions together"),
        (["seed=0", "seed=1"], "no run meets all conditions together"),
    ],
)
def test_what_means_nothing_is_an_error_of_one_line(
    load: Callable[..., Suite], conditions: list[str], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        select(load(EXAMPLE).expand(), conditions)
    assert str(caught.value).startswith("--only ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_teachers_of_teachers_come_along(methods: Callable[..., Suite]) -> None:
    suite = methods("  A: {}\n  B: {relabel: A}\n  C: {relabel: B}\n  D: {loss: gce}\n")
    chosen = select(suite.expand(), ["method=C"])
    assert chosen == {cell_of(suite, name)["runs"]["0"] for name in "ABC"}


def test_a_method_may_have_a_number_for_a_name(methods: Callable[..., Suite]) -> None:
    suite = methods("  1: {}\n  2: {loss: gce}\n")
    assert select(suite.expand(), ["method=2"]) == {cell_of(suite, "2")["runs"]["0"]}


def test_the_plan_never_changes(load: Callable[..., Suite]) -> None:
    expansion = load(EXAMPLE).expand()
    before = build_plan(expansion)
    select(expansion, ["method=SGD"])
    assert build_plan(expansion) == before
