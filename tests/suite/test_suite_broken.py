"""Every broken suite ends in one line with file, line, key, what is allowed, and "did you mean"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_cases import EXAMPLE

from noisybench.errors import SuiteError
from noisybench.suite import Suite

BROKEN = [
    # (what is replaced, by what, line, what the message says)
    ("name: example\n", "", 1, "needs 'name'"),
    ("dataset: digits\n", "", 1, "needs 'dataset'"),
    ("model: mlp\n", "", 1, "needs 'model'"),
    ("name: example", "name: ../up", 1, "letters, digits"),
    ("name: example", "name: [a]", 1, "valid string"),
    ("name: example", "nme: example", 1, "did you mean 'name'?"),
    ("name: example", "name: example\nversion: 0", 2, "greater than or equal to 1"),
    ("name: example", "name: example\nversion: 1.0", 2, "valid integer"),
    ("name: example", "name: example\nrecipe: own", 2, "'common' or 'authors'"),
    ("dataset: digits", "dataset: digit", 2, "did you mean 'digits'?"),
    ("dataset: digits", "dataset: 5", 2, "must be a name or a mapping"),
    ("dataset: digits", "dataset:", 2, "must be a name or a mapping"),
    ("dataset: digits", "dataset: []", 2, "at least one value"),
    ("dataset: digits", "dataset: {train_subset: 5}", 2, "needs 'name'"),
    ("dataset: digits", "dataset: {name: digits, tain_subset: 5}", 2, "did you mean 'train_subset'?"),
    ("dataset: digits", "dataset: {name: digits, validation: 1}", 2, "dataset.validation: must be less than 1"),
    ("dataset: digits", "dataset: {name: digits, train_subset: 0}", 2, "greater than or equal to 1"),
    ("dataset: digits", "dataset: {name: digits, subset_seed: [1, 1]}", 2, "stated twice"),
    ("dataset: digits", "dataset: [digits, {name: digits, validation: 0}]", 2, "stated twice"),
    ("rate: [0.2, 0.8]", "rate: 1.2", 3, "noise.rate: must be less than or equal to 1, not 1.2"),
    ("rate: [0.2, 0.8]", "rate: [0.2, 1.2]", 3, "noise.rate[1]: must be less than or equal to 1, not 1.2"),
    ("rate: [0.2, 0.8]", "rate: 40", 3, "noise.rate: must be less than or equal to 1, not 40 (40 % is 0.4)"),
    ("rate: [0.2, 0.8]", "rate: 40%", 3, "noise.rate: must be a valid number, not '40%' (40 % is 0.4)"),
    ("rate: [0.2, 0.8]", "rate: [20, 40]", 3, "not [20, 40] (20 % is 0.2)"),
    ("rate: [0.2, 0.8]", "rate: [0.2, 12.5 %]", 3, "[1]: must be a valid number, not '12.5 %' (12.5 % is 0.125)"),
    ("name: sgd, lr: 0.1", "name: sgd, lr: 0.1, momentum: 90", 7, "must be less than 1, not 90 (90 % is 0.9)"),
    ("rate: [0.2, 0.8]", "rate: 0.2, open_set: {rate: 40, from: cifar10}", 3, "from 0 to 1, not 40 (40 % is 0.4)"),
    ("dataset: digits", "dataset: {name: digits, validation: 10}", 2, "must be less than 1, not 10 (10 % is 0.1)"),
    ("rate: [0.2, 0.8]", "rate: [0.2, true]", 3, "not true"),
    ("rate: [0.2, 0.8]", "rate: '0.2'", 3, "valid number"),
    ("rate: [0.2, 0.8]", "rate: .nan", 3, "finite number"),
    ("rate: [0.2, 0.8]", "rate: []", 3, "at least one value"),
    ("rate: [0.2, 0.8]", "rate: [[0.2]]", 3, "valid number"),
    (", rate: [0.2, 0.8]", "", 3, "needs 'rate'"),
    ("kind: symmetric", "kind: symetric", 3, "did you mean 'symmetric'?"),
    ("kind: symmetric", "name: symmetric", 3, "called 'kind' here"),
    ("kind: symmetric, ", "", 3, "needs 'kind'"),
    ("kind: symmetric,", "kind: symmetric, flp: inclusive,", 3, "did you mean 'flip'?"),
    ("model: mlp", "model: mpl", 4, "did you mean 'mlp'?"),
    ("model: mlp", "model: {name: mlp, widht: 5}", 4, "did you mean 'width'?"),
    ("model: mlp", "model: {name: mlp, width: 5.0}", 4, "valid integer"),
    ("epochs: 10", "epochs: ten", 6, "training.epochs: must be a valid integer, not 'ten'"),
    ("epochs: 10", "epochs: 0", 6, "greater than or equal to 1"),
    ("epochs: 10", "epochs: [5, 10]", 6, "axis"),
    ("epochs: 10", "epoch: 10", 6, "did you mean 'epochs'?"),
    ("epochs: 10", "epochs: 10\n  epochs: 11", 7, "stated twice"),
    ("epochs: 10", "clip: 0", 6, "greater than 0"),
    ("epochs: 10", "compile: yes", 6, "'auto', 'on' or 'off'"),
    ("epochs: 10", "augment: crop", 6, "must be a list"),
    ("epochs: 10", "augment: [corp]", 6, "did you mean 'crop'?"),
    ("epochs: 10", "augment: [flip,\n    {crop: {pading: 4}}]", 7, "did you mean 'padding'?"),
    ("epochs: 10", "schedule: {name: multistep, milestones: [8, 5]}", 6, "ascending"),
    ("epochs: 10", "schedule: {name: multistep, milestones: [5, 8], gamma: [0.1]}", 6, "one for each"),
    ("epochs: 10", "optimizr: sgd", 6, "did you mean 'optimizer'?"),
    ("training:\n  epochs: 10\n  optimizer: {name: sgd, lr: 0.1}", "training: 5", 5, "must be a mapping"),
    ("name: sgd, lr: 0.1", "name: sdg, lr: 0.1", 7, "did you mean 'sgd'?"),
    ("name: sgd, lr: 0.1", "name: sgd, lr: [0.1, 0.2]", 7, "axis"),
    ("{name: sgd, lr: 0.1}", "[sgd, sam]", 7, "axis"),
    ("seeds: 2", "seeds: 0", 8, "number of seeds"),
    ("seeds: 2", "seeds: true", 8, "number of seeds"),
    ("seeds: 2", "seeds: []", 8, "number of seeds"),
    ("seeds: 2", "seeds: [0, 1, 0]", 8, "stated twice"),
    ("seeds: 2", "seeds: [0, -1]", 8, "a seed is an integer from 0"),
    ("seeds: 2", "seeds: 1000000000", 8, "number of seeds"),
    ("SGD: {}", "SGD: 5", 10, "must be a mapping"),
    ("SGD: {}", "'SGD ': {}", 10, "name"),
    ("SGD: {}", "'SGD[a]': {}", 10, "name"),
    ("SGD: {}", "SGD: {los: ce}", 10, "did you mean 'loss'?"),
    ("SGD: {}", "SGD: {model: mlp}", 10, "has no key 'model'"),
    ("SGD: {}", "SGD: {loss: gce, q: 0.5}", 10, "published; write it as loss: {name: gce, q: ...}"),
    ("SGD: {}", "SGD: {optimizer: sam, rho: 1}", 10, "published; write it as optimizer: {name: sam, rho: ...}"),
    (
        "SGD: {}",
        "SGD: {algorithm: coteaching, forget_rate: 0.4}",
        10,
        "a method has no key 'forget_rate'; it takes: training, method, epochs, batch_size, drop_last, clip, warmup, "
        "augment, precision, compile, diagnostics, detection, optimizer, schedule, algorithm, loss, mixup, averaging, "
        "relabel, choose, published; write it as algorithm: {name: coteaching, forget_rate: ...}",
    ),
    ("SGD: {}", "SGD: {training: {epoch: 5}}", 10, "did you mean 'epochs'?"),
    ("SGD: {}", "SGD: {method: {los: ce}}", 10, "did you mean 'loss'?"),
    ("SGD: {}", "SGD: {loss: {name: gce, p: 0.5}}", 10, "loss 'gce' has no parameter 'p'"),
    ("SGD: {}", "SGD: {loss: {name: gce, q: 0}}", 10, "greater than 0"),
    ("SGD: {}", "SGD: {loss: {q: 0.5}}", 10, "loss 'ce' has no parameter 'q'"),
    ("SGD: {}", "SGD: {loss: []}", 10, "at least one value"),
    ("SGD: {}", "SGD: {algorithm: emr}", 10, "did you mean 'erm'?"),
    ("SGD: {}", "SGD: {mixup: 8}", 10, "must be a mapping"),
    ("SGD: {}", "SGD: {mixup: {alpha: 0}}", 10, "greater than 0"),
    ("SGD: {}", "SGD: {mixup: {alpa: 1}}", 10, "did you mean 'alpha'?"),
    ("SGD: {}", "SGD: {mixup: {alpha: [1, 1.0]}}", 10, "stated twice"),
    ("SGD: {}", "SGD: {averaging: ema}", 10, "must be a mapping such as {kind: ema} or null"),
    ("SGD: {}", "SGD: {averaging: {kind: emas}}", 10, "'ema' or 'swa'"),
    ("SGD: {}", "SGD: {averaging: {kind: swa, decay: 0.9}}", 10, "must be null with kind: swa"),
    ("SGD: {}", "SGD: {averaging: {start: 1}}", 10, "less than 1"),
    ("SGD: {}", "SGD: {optimizer.lr: 0.1, optimizer: {lr: 0.2}}", 10, "stated twice"),
    ("SGD: {}", "SGD: {optimizer: {name: sam, lr: 0.1, base: {lr: 0.2}}}", 10, "stated twice"),
    ("SGD: {}", "SGD: {optimizer: {name: sam, base: asam}}", 10, "cannot be wrapped"),
    ("choose: best", "choose: worst", 11, "'best' or 'validation'"),
    ("choose: best", "choose: [best]", 11, "'best' or 'validation'"),
    ("choose: best", "choose: validation", 11, "needs a hold-out"),
    ("choose: best", "published: 5", 11, "name of a method"),
    ("name: sam, rho: 0.1}}\n  B", "name: samm, rho: 0.1}}\n  B", 12, "did you mean 'sam'?"),
    ("rho: 0.1}}\n  B", "rhoo: 0.1}}\n  B", 12, "did you mean 'rho'?"),
    ("relabel: SAM", "relabel: SMA", 13, "did you mean 'SAM'?"),
    ("relabel: SAM", "relabel: 5", 13, "no method 5"),
    ("relabel: SAM", "relabel: Bootstrap + SAM", 13, "circle: Bootstrap + SAM -> Bootstrap + SAM"),
    ("  SAM: {", "  SAM: {relabel: Bootstrap + SAM, ", 13, "circle: SAM -> Bootstrap + SAM -> SAM"),
    ("relabel: SAM", "relabel: 'Mixup[alpha=2]'", 13, "there are: Mixup[alpha=1], Mixup[alpha=8]"),
    ("relabel: SAM", "relabel: Mixup, mixup: {alpha: [1, 2]}", 13, "no variant of Mixup has alpha=2"),
    ("noise.rate: 0.8", "noise.rate: 0.9", 15, "matches nothing: no run has noise.rate = 0.9; there are: 0.2, 0.8"),
    ("noise.rate: 0.8", "noise.rat: 0.8", 15, "did you mean 'noise.rate'?"),
    ("noise.rate: 0.8", "noise.rate: []", 15, "at least one value"),
    ("noise.rate: 0.8", "noise: symmetric, loss: gce", 15, "no run has loss = gce; there are: ce"),
    ("method: [SAM,", "method: [SMA,", 15, "did you mean 'SAM'?"),
    ("set: {optimizer.rho: 0.05}", "set: {noise.rate: 0.1}", 15, "may not change the noise"),
    ("set: {optimizer.rho: 0.05}", "set: {dataset: digits}", 15, "may not change the data set"),
    ("set: {optimizer.rho: 0.05}", "set: {seed: 1}", 15, "may not change a seed"),
    ("set: {optimizer.rho: 0.05}", "set: {optimizer.rho: [0.05, 0.1]}", 15, "axis"),
    ("set: {optimizer.rho: 0.05}", "set: {optimizer.rhoo: 0.05}", 15, "did you mean 'rho'?"),
    ("set: {optimizer.rho: 0.05}", "set: {epoch: 5}", 15, "did you mean 'epochs'?"),
    ("set: {optimizer.rho: 0.05}", "set: {}", 15, "at least one key"),
    ("set: {optimizer.rho: 0.05}", "set: {epochs: 5}, skip: true", 15, "either 'set' or 'skip: true'"),
    (", set: {optimizer.rho: 0.05}", "", 15, "either 'set' or 'skip: true'"),
    ("set: {optimizer.rho: 0.05}", "skip: false", 15, "must be true"),
    ("set: {optimizer.rho: 0.05}", "sets: {epochs: 5}", 15, "did you mean 'set'?"),
    ("noise.rate: 0.8", "seed: 0", 15, "may not depend on the seed"),
    ("when: {method: [SAM, Bootstrap + SAM], noise.rate: 0.8}, ", "", 15, "needs 'when'"),
    ("  - {when: {method: [SAM, Bootstrap + SAM],", "  - {when: {method: [SAM],", None, ""),
    ("accuracy: last", "acuracy: last", 16, "did you mean 'accuracy'?"),
    ("accuracy: last", "accuracy: first", 16, "'last10'"),
    ("accuracy: last", "accuracy: validation", 16, "needs a hold-out"),
    ("accuracy: last", "compare: foret2021_table4", 16, "valid list"),
    ("accuracy: last", "compare: [foret2021_tabel4]", 16, "did you mean 'foret2021_table4'?"),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), BROKEN)
def test_a_broken_suite_ends_in_one_line(
    load: Callable[..., Suite], old: str, new: str, line: int | None, says: str
) -> None:
    assert EXAMPLE.count(old) == 1
    text = EXAMPLE.replace(old, new)
    if line is None:  # a suite that is in order after all
        assert load(text).expand().runs
        return
    with pytest.raises(SuiteError) as caught:
        load(text)
    message = str(caught.value)
    assert f"s.yaml:{line}: " in message
    assert says in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "- a\n- b\n", "5", "just words", "null"])
def test_what_is_no_mapping_is_no_suite(load: Callable[..., Suite], text: str) -> None:
    with pytest.raises(SuiteError, match=r"s\.yaml:1: .*(empty|a mapping)"):
        load(text)


@pytest.mark.parametrize("methods", ["{}", "[]", "5", "", "[SGD]"])
def test_methods_are_a_mapping(load: Callable[..., Suite], methods: str) -> None:
    with pytest.raises(SuiteError, match=r"s\.yaml:4: methods: must be a mapping"):
        load(f"name: t\ndataset: digits\nmodel: mlp\nmethods: {methods}\n")


@pytest.mark.parametrize("value", ["{a: 1}", "5", "[5]", "[{}]", "[{when: 5, set: {epochs: 1}}]"])
def test_overrides_are_a_list_of_mappings(load: Callable[..., Suite], value: str) -> None:
    with pytest.raises(SuiteError, match=r"s\.yaml:5: overrides"):
        load(f"name: t\ndataset: digits\nmodel: mlp\nmethods: {{SGD: {{}}}}\noverrides: {value}\n")


def test_an_explosion_is_stopped_before_it_starts(methods: Callable[..., Suite]) -> None:
    values = ", ".join(str(i) for i in range(1, 400))
    with pytest.raises(SuiteError, match=r"s\.yaml:5: .*100,000 combinations"):
        methods(f"  A: {{optimizer: {{lr: [{values}], weight_decay: [{values}]}}}}\n")
    with pytest.raises(SuiteError, match=r"expands to 119,700,000 runs"):
        methods("".join(f"  m{i}: {{mixup: {{alpha: [{values}]}}}}\n" for i in range(30)) + "seeds: 10000\n")


def test_a_very_long_chain_of_relabels_ends_in_one_line(methods: Callable[..., Suite]) -> None:
    chain = [f"  m{i}: {{relabel: m{i - 1}}}\n" for i in range(1, 1200)]
    with pytest.raises(SuiteError, match="chain of more than 50 relabels"):
        methods("".join(reversed(chain)) + "  m0: {}\n")


@pytest.mark.parametrize("edit", ["training.optimizer.lr=40%", "training.epochs=40%", "noise.rate=1.2"])
def test_only_a_share_that_was_given_as_a_percentage_gets_a_hint(load: Callable[..., Suite], edit: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(EXAMPLE, edit)
    assert " % is " not in str(caught.value)
