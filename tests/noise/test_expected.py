"""The expected share of wrong labels."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench import registry
from noisybench.errors import DataError, ParameterError
from noisybench.noise import expected_rate, expected_transition, inject

CLEAN = np.repeat(np.arange(10), 100)


@pytest.mark.parametrize(
    ("kind", "params", "classes", "want"),
    [
        ("clean", {}, 10, 0),
        ("symmetric", {"rate": 0.4}, 10, 0.4),
        ("symmetric", {"rate": 0.8, "flip": "inclusive"}, 10, 0.72),
        ("symmetric", {"rate": 0.8, "flip": "inclusive"}, 100, 0.792),
        ("symmetric", {"rate": 0.4, "targets": "frequency", "flip": "inclusive"}, 2, 0.2),
        ("asymmetric", {"rate": 0.4}, 10, 0.2),
        ("asymmetric", {"rate": 0.4}, 100, 0.4),
        ("asymmetric", {"rate": 0.4, "mapping": {0: 1}}, 4, 0.1),
        ("pairflip", {"rate": 0.45}, 10, 0.45),
        ("matrix", {"matrix": [[0.7, 0.3], [0.1, 0.9]]}, 2, 0.2),
        ("block", {"rate": 0.4, "groups": [[0, 1], [2]]}, 4, 0.2),
        ("block", {"rate": 0.4, "groups": [[0, 1, 2, 3]], "flip": "inclusive"}, 4, 0.3),
        ("pmd", {"path": "eta.npz", "rate": 0.35}, 10, 0.35),
        ("pmd", {"path": "eta.npz"}, 10, None),
        ("file", {"path": "labels.npz"}, 10, None),
        ("instance", {"rate": 0.0}, 10, 0.0),
    ],
)
def test_by_hand(kind, params, classes, want):
    assert expected_rate(kind, params, classes) == (None if want is None else pytest.approx(want, abs=1e-12))


def test_class_sizes_matter():
    sizes = [600, 300, 100, 0]
    assert expected_rate("asymmetric", {"rate": 0.5, "mapping": {0: 1}}, 4, sizes) == pytest.approx(0.3)
    frequency = {"rate": 1.0, "targets": "frequency", "flip": "inclusive"}
    assert expected_rate("symmetric", frequency, 4, sizes) == pytest.approx(1 - (0.36 + 0.09 + 0.01))
    for bad in ([1, 2], [0, 0, 0, 0], [1, 1, 1, -1]):
        with pytest.raises(DataError, match="class_counts"):
            expected_rate("symmetric", frequency, 4, bad)


def test_parameters_are_checked():
    with pytest.raises(ParameterError, match="needs 'rate'"):
        expected_rate("symmetric", {}, 10)


@pytest.mark.parametrize("kind", registry.names("noise"))
def test_every_kind_does_what_it_expects(kind, arguments_of):
    arguments = arguments_of(kind)
    component = registry.get("noise", kind)
    params = {key: value for key, value in arguments.items() if key in component.keys}
    rate, transition = expected_rate(kind, params, 10), expected_transition(kind, params, 10)
    noisy = [inject(CLEAN, kind, num_classes=10, seed=seed, **arguments) for seed in range(20)]
    if rate is not None:
        assert np.mean([n.realised_rate for n in noisy]) == pytest.approx(rate, abs=5 * 0.5 / 20_000**0.5)
    if transition is not None:
        assert transition.sum(axis=1) == pytest.approx(np.ones(10))
        measured = np.mean([n.transition for n in noisy], axis=0)
        assert measured == pytest.approx(transition, abs=5 * 0.5 / 2000**0.5)
        assert (measured[transition == 0] == 0).all()
