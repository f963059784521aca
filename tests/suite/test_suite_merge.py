"""Mappings merge key by key; a changed name drops parameters; a wrapper keeps what it wraps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from suite_cases import cell_of

from noisybench.errors import SuiteError
from noisybench.suite import Suite, resolve_dataset

SGD_HERE = "training:\n  optimizer: {name: sgd, lr: 0.3, momentum: 0.5, weight_decay: 1e-3}\n"


def optimizer(methods: Callable[..., Suite], entry: str, tail: str = SGD_HERE, name: str = "A") -> dict[str, Any]:
    settings = cell_of(methods(f"  A: {entry}\n  B: {{}}\n" + tail), name)["settings"]
    found: dict[str, Any] = settings["training"]["optimizer"]
    return found


def test_a_key_of_the_same_component_is_laid_over_the_others(methods: Callable[..., Suite]) -> None:
    found = optimizer(methods, "{optimizer: {lr: 0.1}}")
    assert (found["name"], found["lr"], found["momentum"], found["weight_decay"]) == ("sgd", 0.1, 0.5, 1e-3)


def test_the_same_name_again_keeps_the_parameters(methods: Callable[..., Suite]) -> None:
    assert optimizer(methods, "{optimizer: sgd}")["lr"] == 0.3


def test_another_name_drops_the_parameters(methods: Callable[..., Suite]) -> None:
    default = resolve_default("adamw")
    assert optimizer(methods, "{optimizer: {name: adamw}}")["weight_decay"] == default["weight_decay"]


def resolve_default(name: str) -> dict[str, Any]:
    from noisybench import registry

    return registry.get("optimizer", name).defaults


def test_a_wrapper_wraps_what_was_there(methods: Callable[..., Suite]) -> None:
    found = optimizer(methods, "{optimizer: {name: sam, rho: 0.2}}")
    assert (found["name"], found["rho"]) == ("sam", 0.2)
    assert (found["base"]["name"], found["base"]["lr"], found["base"]["momentum"]) == ("sgd", 0.3, 0.5)
    assert "lr" not in found


def test_a_wrapper_alone_wraps_sgd(methods: Callable[..., Suite]) -> None:
    found = optimizer(methods, "{optimizer: {name: sam, lr: 0.7}}", tail="training: {epochs: 1}\n")
    assert (found["base"]["name"], found["base"]["lr"]) == ("sgd", 0.7)


def test_a_wrapper_hands_its_base_the_keys_that_are_not_its_own(methods: Callable[..., Suite]) -> None:
    found = optimizer(methods, "{optimizer: {name: sam, lr: 0.05, rho: 0.2}}")
    assert (found["base"]["lr"], found["base"]["momentum"], found["rho"]) == (0.05, 0.5, 0.2)


def test_a_wrapper_can_change_its_base(methods: Callable[..., Suite]) -> None:
    found = optimizer(methods, "{optimizer: {name: sam, base: adamw}}")
    assert found["base"]["name"] == "adamw"
    assert "momentum" not in found["base"]
    found = optimizer(methods, "{optimizer: {name: sam, base: {momentum: 0.8}}}")
    assert (found["base"]["name"], found["base"]["lr"], found["base"]["momentum"]) == ("sgd", 0.3, 0.8)


def test_one_wrapper_for_another_keeps_the_base_and_drops_the_rest(methods: Callable[..., Suite]) -> None:
    tail = "training:\n  optimizer: {name: sam, rho: 0.9, lr: 0.3}\n"
    found = optimizer(methods, "{optimizer: asam}", tail)
    assert (found["name"], found["base"]["lr"]) == ("asam", 0.3)
    assert found["rho"] != 0.9
    assert optimizer(methods, "{optimizer: {lr: 0.4}}", tail)["base"]["lr"] == 0.4
    assert optimizer(methods, "{optimizer: {rho: 0.4}}", tail)["rho"] == 0.4
    assert optimizer(methods, "{optimizer: sgd}", tail)["name"] == "sgd"
    assert "base" not in optimizer(methods, "{optimizer: sgd}", tail)


def test_prefix_dots_and_nesting_mean_the_same(methods: Callable[..., Suite]) -> None:
    ways = [
        "{optimizer: {name: sam, rho: 0.2, lr: 0.1}, epochs: 7, loss: {name: gce, q: 0.5}}",
        "{training: {optimizer: {name: sam, rho: 0.2, lr: 0.1}, epochs: 7}, method: {loss: {name: gce, q: 0.5}}}",
        "{optimizer.name: sam, optimizer.rho: 0.2, optimizer.base.lr: 0.1, training.epochs: 7, loss: gce, loss.q: 0.5}",
        "{optimizer: sam, optimizer.rho: 0.2, optimizer.lr: 0.1, epochs: 7, method.loss: gce, loss.q: 0.5}",
        "{optimizer.rho: 0.2, optimizer: sam, optimizer.lr: 0.1, epochs: 7, loss.q: 0.5, loss: gce}",
    ]
    cells = [cell_of(methods(f"  A: {way}\n"), "A") for way in ways]
    assert all(cell["settings"] == cells[0]["settings"] for cell in cells)
    assert all(cell["runs"] == cells[0]["runs"] for cell in cells)


def test_a_name_and_a_mapping_of_it_mean_the_same(methods: Callable[..., Suite]) -> None:
    suite = methods("  A: {loss: gce}\n  B: {loss: {name: gce}}\n  C: {loss: {name: gce, q: 0.7}}\n")
    runs = {tuple(cell["runs"].values()) for cell in suite.expand().cells}
    assert len(runs) == 1
    assert len(suite.expand().runs) == 1


def test_an_empty_method_is_the_suite_as_it_stands(methods: Callable[..., Suite]) -> None:
    suite = methods("  A:\n  B: {}\n")
    assert cell_of(suite, "A")["runs"] == cell_of(suite, "B")["runs"]


def test_a_null_switches_mixup_off(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  A: {mixup: {alpha: 2}}\noverrides: [{when: {method: A}, set: {mixup: null}}]\n",
    )
    assert cell_of(suite, "A")["settings"]["method"]["mixup"] is None


def test_an_unknown_key_of_a_wrapper_names_both(methods: Callable[..., Suite]) -> None:
    with pytest.raises(SuiteError, match=r"takes: .*lr.*takes: .*rho"):
        optimizer(methods, "{optimizer: {name: sam, nonsense: 1}}")


def test_one_block_alone_can_be_resolved() -> None:
    assert resolve_dataset("digits") == {
        "name": "digits",
        "train_subset": None,
        "test_subset": None,
        "imbalance": None,
        "validation": 0.0,
        "subset_seed": 0,
    }
    assert resolve_dataset({"name": "npz", "path": "a/cats.npz"})["id"] == "cats"
    with pytest.raises(SuiteError, match="did you mean 'train_subset'"):
        resolve_dataset({"name": "digits", "trainsubset": 5})
