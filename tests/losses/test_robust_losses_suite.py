"""The suite ``robust-losses`` runs every loss, at its published parameters."""

from __future__ import annotations

import pytest

from noisybench import registry
from noisybench.suite import load_suite


@pytest.fixture(scope="module")
def cells():
    return load_suite("robust-losses").expand().cells


def test_it_runs_every_registered_loss(cells):
    assert {cell["settings"]["method"]["loss"]["name"] for cell in cells} == set(registry.names("loss"))


def test_what_is_set_by_the_true_noise_is_marked(cells):
    for cell in cells:
        if cell["method"] in ("Forward", "Backward"):
            transition = cell["settings"]["method"]["loss"]["transition"]
            assert transition["rate"] == cell["settings"]["noise"]["rate"]
            assert ("mapping" in transition) == (cell["settings"]["noise"]["kind"] == "asymmetric")
            assert "rate-aware" in cell["marks"]
        if cell["method"] in ("GCE", "NCE+RCE", "JS"):
            assert cell["marks"] == []
