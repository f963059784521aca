"""Identity: what makes two runs the same run."""

from __future__ import annotations

import copy

import pytest

from noisybench.spec import RunSpec, canonical_json, sha256_of

DATA = {
    "dataset": {"name": "digits", "train_subset": None, "test_subset": None, "validation": 0.0, "subset_seed": 0},
    "noise": {"kind": "symmetric", "rate": 0.4, "flip": "exclusive", "count": "exact", "seed": None},
    "model": {"name": "mlp"},
    "training": {
        "epochs": 10,
        "batch_size": 128,
        "optimizer": {"name": "sam", "rho": 0.05, "base": {"name": "sgd", "lr": 0.1}},
        "schedule": {"name": "cosine"},
    },
    "method": {"algorithm": {"name": "erm"}, "loss": {"name": "ce"}, "mixup": None, "relabel": None},
    "seed": 0,
}
DEFAULTS = {"training": {"batch_size": 128}, "dataset": {"train_subset": None}, "method": {"mixup": None}}


def of(**changes):
    data = copy.deepcopy(DATA)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = data
        for part in parents:
            node = node[part]
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return RunSpec.of(data, defaults=DEFAULTS)


def test_canonical_json_knows_one_number_and_one_order():
    assert canonical_json({"b": 1.0, "a": [2, 2.5]}) == '{"a":[2,2.5],"b":1}'
    assert canonical_json([float("nan"), float("inf"), -float("inf")]) == '["nan","inf","-inf"]'
    assert canonical_json(True) == "true"
    assert sha256_of({"x": 1}) == sha256_of({"x": 1.0})


def test_stating_a_default_is_the_same_run():
    assert of(training__batch_size=...).run_id == of().run_id
    assert of(noise__flip=...).run_id == of().run_id
    assert of(training__optimizer__base__momentum=0.9).run_id == of().run_id  # sgd's own default
    assert of(training__epochs=10.0).run_id == of().run_id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"training__epochs": 11},
        {"training__batch_size": 64},
        {"noise__flip": "inclusive"},
        {"training__optimizer__rho": 0.1},
        {"training__optimizer__base__lr": 0.2},
        {"method__relabel": "other-run"},
        {"dataset__train_subset": 100},
    ],
)
def test_what_can_change_the_result_changes_the_id(change):
    assert of(**change).run_id != of().run_id


def test_the_id_starts_readably():
    assert of().run_id.startswith("digits-symmetric-40-mlp-ce-sam-s0-")
    assert of(method__relabel="t").teacher == "t"


def test_places_are_no_part_of_the_identity():
    one = {"name": "npz", "path": "a/x.npz", "id": "x", "as": "cifar10"}
    two = {"name": "npz", "path": "/elsewhere/x.npz", "id": "x", "as": None}
    assert of(dataset=one).run_id == of(dataset=two).run_id
    assert of(dataset={**one, "id": "y"}).run_id != of(dataset=one).run_id


def test_another_version_of_a_component_is_another_run(monkeypatch):
    import dataclasses

    from noisybench import registry

    before, component = of().run_id, registry.get("loss", "ce")
    monkeypatch.setitem(registry._components, ("loss", "ce"), dataclasses.replace(component, version=99))
    assert of().run_id != before
    monkeypatch.setitem(registry._components, ("loss", "ce"), dataclasses.replace(component, origin="sha256:1"))
    assert of().run_id != before


def test_an_id_is_short_enough_for_a_file_name():
    data = {**DATA, "dataset": {**DATA["dataset"], "id": "x" * 4000}}
    assert len(RunSpec.of(data, defaults=DEFAULTS).run_id) == 230 + 1 + 12
