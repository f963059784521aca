"""What a study may not mean as it stands is said, once, and keeps nothing from running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from noisybench.suite import Suite, doubts

ASYMMETRIC = {"kind": "asymmetric", "rate": 0.4}


@pytest.mark.parametrize(
    ("dataset", "noise", "wanted"),
    [
        ("digits", ASYMMETRIC, ["classes as they are numbered in CIFAR-10"]),
        ({"name": "npz", "path": "a.npz"}, ASYMMETRIC, ["data set 'npz'"]),
        (
            "digits",
            {"kind": "compose", "steps": [ASYMMETRIC, {"kind": "symmetric", "rate": 0.2}]},
            ["data set 'digits'"],
        ),
        ("digits", {**ASYMMETRIC, "mapping": "next"}, []),
        ("digits", {**ASYMMETRIC, "mapping": "cifar10"}, []),
        ("digits", {**ASYMMETRIC, "mapping": {1: 2}}, []),
        ("digits", {"kind": "symmetric", "rate": 0.4}, []),
        ("cifar10", ASYMMETRIC, []),
        ("cifar100", ASYMMETRIC, []),
        ("synthetic", ASYMMETRIC, []),
        ({"name": "npz", "path": "a.npz", "as": "cifar10"}, ASYMMETRIC, []),
        ({"name": "npz", "path": "a.npz", "as": "cifar11"}, "clean", ["--compare FILE.yaml); did you mean 'cifar10'?"]),
        ({"name": "npz", "path": "a.npz", "as": "my-own"}, "clean", ["(--compare FILE.yaml)."]),
        ({"name": "npz", "path": "a.npz", "as": "cifar80n"}, "clean", []),
    ],
)
def test_each_doubt_is_said_once(load: Callable[..., Suite], dataset: Any, noise: Any, wanted: list[str]) -> None:
    study = {
        "name": "s",
        "dataset": dataset,
        "noise": noise,
        "model": "mlp",
        "methods": {"CE": {}, "GCE": {"loss": "gce"}},
    }
    found = doubts(load(yaml.safe_dump(study)).expand().runs)
    assert len(found) == len(wanted), found
    for text, part in zip(found, wanted, strict=True):
        assert part in text
        assert text[-1] in ".?"
