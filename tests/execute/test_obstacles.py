"""What cannot be trained here is known before anything is: packages and data that are missing."""

from __future__ import annotations

import sys
import types

import pytest
from small_runs import small_spec

from noisybench.data import DataFolder
from noisybench.errors import DataError, MissingExtra
from noisybench.execute.obstacles import missing_data, missing_packages, without_package

PRUNED = {"method.algorithm": {"name": "confident_learning"}}
PROBED = {"method.algorithm": {"name": "linear_probe"}}


@pytest.fixture
def bare(monkeypatch):
    """A machine without the optional packages."""
    for package in ("cleanlab", "timm"):
        monkeypatch.setitem(sys.modules, package, None)


def test_a_missing_package_is_named_once_an_algorithm_with_the_methods_that_need_it(bare):
    runs = [small_spec(), small_spec(PRUNED), small_spec({**PRUNED, "seed": 1}), small_spec(PROBED)]
    cells = [
        {"method": "SGD", "runs": {"0": runs[0].run_id}},
        {"method": "Pruned", "runs": {"0": runs[1].run_id}},
        {"method": "Again", "runs": {"1": runs[2].run_id}},
    ]
    assert without_package(runs) == runs[1:]
    pruned, probed = missing_packages(runs, cells)
    assert isinstance(pruned, MissingExtra)
    assert str(pruned) == (
        "method 'Pruned', 'Again' (algorithm 'confident_learning') needs the package 'cleanlab'; "
        "install it with: pip install 'noisybench[cleanlab]'"
    )
    assert str(probed).startswith(f"method {runs[3].run_id} (algorithm 'linear_probe') needs the package 'timm'")


def test_an_installed_package_is_no_obstacle(bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", types.ModuleType("timm"))
    assert without_package([small_spec(), small_spec(PROBED)]) == []


def test_data_at_a_path_is_looked_for_and_what_can_be_downloaded_is_not(tmp_path):
    suite_dir, data = tmp_path / "suite", tmp_path / "data"
    absent = {"name": "npz", "path": "no.npz", "id": None, "as": None, "layout": "auto"}
    (suite_dir / "pictures").mkdir(parents=True)
    half = {"name": "imagefolder", "path": "pictures", "id": None, "as": None, "size": None}
    runs = [
        small_spec({"dataset": absent}),
        small_spec({"dataset": absent, "seed": 1}),
        small_spec({"dataset": {"name": "cifar10"}}),
        small_spec({"dataset": half}),
        small_spec({"noise.open_set": {"rate": 0.1, "from": {**absent, "path": "other.npz"}}}),
    ]
    errors = missing_data(runs, DataFolder(data, suite_dir))
    assert all(isinstance(error, DataError) for error in errors)
    assert list(map(str, errors)) == [
        f"'no.npz' does not exist; looked for {suite_dir}/no.npz and {data}/no.npz",
        f"{suite_dir}/pictures/train does not exist; an image folder holds train/<class>/ and test/<class>/",
        f"'other.npz' does not exist; looked for {suite_dir}/other.npz and {data}/other.npz",
    ]
