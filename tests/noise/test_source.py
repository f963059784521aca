"""Which rows of a file belong to the samples at hand."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.errors import DataError
from noisybench.noise import Source


def test_rows_of_the_full_set_and_of_the_subset_itself():
    full = np.arange(10) * 10
    assert Source(index=np.array([1, 7])).rows(full, 2, "labels").tolist() == [10, 70]
    assert Source(index=np.array([1, 7])).rows(np.array([5, 6]), 2, "labels").tolist() == [5, 6]
    assert Source().rows(full, 10, "labels").tolist() == full.tolist()
    assert Source(index=np.arange(10)[::-1]).rows(full, 10, "labels").tolist() == full[::-1].tolist()


def test_a_wrong_length_is_named():
    with pytest.raises(DataError, match=r"labels has 10 entries, the data 3$"):
        Source().rows(np.arange(10), 3, "labels")
    with pytest.raises(DataError, match="labels has 4 entries, the data 2, a subset of a training set of at least 8"):
        Source(index=np.array([1, 7])).rows(np.arange(4), 2, "labels")


def test_files_are_looked_for_in_the_folder(tmp_path):
    (tmp_path / "a.csv").touch()
    assert Source(folder=tmp_path).find("a.csv") == tmp_path / "a.csv"
    assert str(Source(folder=tmp_path).find("b.csv")) == "b.csv"
    assert Source(folder=tmp_path).find("/c/a.csv").as_posix() == "/c/a.csv"
    assert str(Source().find("a.csv")) == "a.csv"
