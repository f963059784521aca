"""``--set PATH=VALUE`` edits the suite first, and is never without effect in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from suite_cases import EXAMPLE, cell_of

from noisybench.errors import SuiteError
from noisybench.spec import at
from noisybench.suite import Suite, parse_value

NO_RULES = EXAMPLE.split("overrides:")[0]


@pytest.mark.parametrize(
    ("edit", "variant", "path", "value"),
    [
        ("training.epochs=5", "SGD", "training.epochs", 5),
        ("epochs=5", "SAM", "training.epochs", 5),
        ("training.optimizer.lr=5e-4", "SGD", "training.optimizer.lr", 5e-4),
        ("training.optimizer.lr=5e-4", "SAM", "training.optimizer.base.lr", 5e-4),
        ("optimizer.momentum=0.5", "SAM", "training.optimizer.base.momentum", 0.5),
        ("training.optimizer=adamw", "SAM", "training.optimizer.base.name", "adamw"),
        ("training.schedule=constant", "SGD", "training.schedule.name", "constant"),
        ("training.schedule.end=0.1", "SGD", "training.schedule.end", 0.1),
        ("training.augment=[flip]", "SGD", "training.augment", [{"name": "flip"}]),
        ("model.width=64", "SGD", "model.width", 64),
        ("model={name: mlp, width: 64}", "SGD", "model.width", 64),
        ("dataset.train_subset=500", "SGD", "dataset.train_subset", 500),
        ("dataset={name: digits, validation: 0.1}", "SGD", "dataset.validation", 0.1),
        ("noise.rate=0.8", "SGD", "noise.rate", 0.8),
        ("noise=clean", "SGD", "noise.kind", "clean"),
        ("methods.SAM.optimizer.rho=0.2", "SAM", "training.optimizer.rho", 0.2),
        ("methods.SAM.optimizer.lr=0.2", "SAM", "training.optimizer.base.lr", 0.2),
        ("methods.Bootstrap + SAM.optimizer.rho=0.2", "Bootstrap + SAM", "training.optimizer.rho", 0.2),
        ("methods.SGD.loss=gce", "SGD", "method.loss.name", "gce"),
        ("methods.SGD.loss={name: gce, q: 0.3}", "SGD", "method.loss.q", 0.3),
        ("methods.SGD={loss: gce}", "SGD", "method.loss.name", "gce"),
        ("methods.Mixup.mixup.alpha=3", "Mixup", "method.mixup.alpha", 3.0),
    ],
)
def test_it_replaces_what_stands_there(
    load: Callable[..., Suite], edit: str, variant: str, path: str, value: Any
) -> None:
    suite = load(NO_RULES, edit)
    cells = [cell for cell in suite.expand().cells if cell["variant"] == variant]
    assert cells
    assert all(at(cell["settings"], path) == value for cell in cells)


def test_edits_come_in_order_and_reach_the_header(load: Callable[..., Suite]) -> None:
    suite = load(
        NO_RULES,
        "seeds=3",
        "version=2",
        "training={epochs: 4, batch_size: 8}",
        "epochs=6",
        "noise.rate=[0.1, 0.3, 0.5]",
    )
    assert (suite.version, suite.seeds) == (2, (0, 1, 2))
    assert len(suite.expand().cells) == 3 * 5
    assert suite.expand().cells[0]["settings"]["training"]["epochs"] == 6
    assert suite.expand().cells[0]["settings"]["training"]["batch_size"] == 8


def test_an_npz_file_can_stand_in_for_a_named_data_set(load: Callable[..., Suite]) -> None:
    suite = load(NO_RULES, "dataset={name: npz, path: cifar10.npz, as: cifar10, train_subset: 5000, test_subset: 2000}")
    dataset = suite.expand().cells[0]["settings"]["dataset"]
    assert (dataset["name"], dataset["id"], dataset["as"]) == ("npz", "cifar10", "cifar10")
    assert (dataset["train_subset"], dataset["test_subset"]) == (5000, 2000)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("epochs", "must be PATH=VALUE"),
        ("=5", "must be PATH=VALUE"),
        ("training.epoch=5", "did you mean 'epochs'?"),
        ("traning.epochs=5", "did you mean 'training'?"),
        ("training.epochs=ten", "valid integer"),
        ("training.epochs=[5, 6]", "axis"),
        ("noise.rate=1.2", "less than or equal to 1"),
        ("noise.rate=", "valid number"),
        ("seeds=", "number of seeds"),
        ("training.clip=[1", "not valid YAML"),
        ("training.clip=*a", "aliases"),
        ("training.optimizer=sdg", "did you mean 'sgd'?"),
        ("training.optimizer.rho=0.2", "no parameter 'rho'"),
        ("training.optimizer.rho.x=0.2", "no parameter 'rho'"),
        ("training.epochs.x=2", "set it as a whole"),
        ("methods.SMA.optimizer.rho=1", "did you mean 'SAM'?"),
        ("methods.New={}", "no method 'New'"),
        ("methods.SGD.los=gce", "did you mean 'loss'?"),
        ("name=a b", "letters, digits"),
        ("overrides.x=1", "set it as a whole"),
    ],
)
def test_a_bad_edit_names_itself(load: Callable[..., Suite], edit: str, says: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(EXAMPLE, edit)
    message = str(caught.value)
    assert message.startswith(f"--set {edit}: ") or f"--set {edit}" in message or "s.yaml" in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("methods_text", "rules", "edit", "by"),
    [
        ("A: {epochs: 7}", "", "training.epochs=5", "methods.A.epochs"),
        ("A: {training: {epochs: 7}}", "", "training.epochs=5", "methods.A.training.epochs"),
        ("A: {optimizer: {lr: 1}}", "", "training.optimizer.lr=5", "methods.A.optimizer.lr"),
        ("A: {optimizer: {name: sam, lr: 1}}", "", "training.optimizer.lr=5", "methods.A.optimizer.lr"),
        ("A: {optimizer: {lr: [1, 2]}}", "", "training.optimizer.lr=5", "methods.A.optimizer.lr"),
        ("A: {optimizer: adamw}", "", "training.optimizer.momentum=0.5", "methods.A.optimizer"),
        ("A: {optimizer: adamw}", "", "training.optimizer=sgd", "methods.A.optimizer"),
        ("A: {}", "{when: {method: A}, set: {epochs: 3}}", "training.epochs=5", "overrides[0].set.epochs"),
        ("A: {}", "{when: {method: A}, set: {model: small_cnn}}", "model.width=5", "overrides[0].set.model"),
        ("A: {loss: gce}", "{when: {method: A}, set: {loss.q: 1}}", "methods.A.loss.q=0.5", "overrides[0].set.loss.q"),
    ],
)
def test_an_edit_that_is_restated_later_ends_in_one_line(
    load: Callable[..., Suite], methods_text: str, rules: str, edit: str, by: str
) -> None:
    text = f"name: t\ndataset: digits\nmodel: mlp\nmethods:\n  {methods_text}\noverrides: [{rules}]\n"
    with pytest.raises(SuiteError) as caught:
        load(text, edit)
    message = str(caught.value)
    assert message.startswith(f"--set {edit}: would have no effect: {by} (")
    assert "s.yaml:" in message
    assert "restates it later" in message


def test_an_override_elsewhere_does_not_restate(load: Callable[..., Suite]) -> None:
    text = "name: t\ndataset: digits\nmodel: mlp\nmethods: {A: {}, B: {}}\n"
    text += "overrides: [{when: {method: B}, set: {loss: gce}}]\n"
    assert cell_of(load(text, "methods.A.loss=sce"), "A")["settings"]["method"]["loss"]["name"] == "sce"


def test_a_name_may_be_given_with_dots_and_spaces(load: Callable[..., Suite]) -> None:
    text = "name: t\ndataset: digits\nmodel: mlp\nmethods: {'q 0.5': {loss: gce}, 'q 0': {}}\n"
    assert cell_of(load(text, "methods.q 0.5.loss.q=0.4"), "q 0.5")["settings"]["method"]["loss"]["q"] == 0.4


def test_values_are_read_as_in_a_suite() -> None:
    assert parse_value("{a: [5e-4, on]}") == {"a": [0.0005, "on"]}
    with pytest.raises(SuiteError):
        parse_value("[1")
