"""Noise from any transition matrix."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.errors import DataError, ParameterError
from noisybench.noise import inject
from noisybench.noise.matrix import largest_remainder

T = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]]
CLEAN = np.repeat(np.arange(3), [400, 100, 1000])


def test_exact_counts():
    noisy = inject(CLEAN, "matrix", num_classes=3, seed=0, matrix=T)
    assert noisy.transition.tolist() == T
    assert noisy.rate is None
    assert noisy.realised_rate == pytest.approx((200 + 0 + 300) / 1500)


def test_independent_draws():
    noisy = inject(CLEAN, "matrix", num_classes=3, seed=0, matrix=T, count="independent")
    assert noisy.transition == pytest.approx(np.array(T), abs=5 * (0.25 / 400) ** 0.5)
    assert noisy.transition.tolist() != T
    assert noisy.transition[1].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("shares", "total", "want"),
    [
        ([0.5, 0.25, 0.25], 10, [5, 3, 2]),  # 5, 2.5, 2.5: the tie goes to the lower class
        ([0.1, 0.2, 0.7], 7, [1, 1, 5]),  # 0.7, 1.4, 4.9
        ([0.29, 0.71, 0.0], 100, [29, 71, 0]),
        ([1 / 3, 1 / 3, 1 / 3], 2, [1, 1, 0]),
        ([0.6, 0.4], 0, [0, 0]),
    ],
)
def test_largest_remainder(shares, total, want):
    assert largest_remainder(np.array(shares), total).tolist() == want


def test_impossible_labels_never_occur():
    row = [0.1] * 10 + [0.0]  # sums to 0.9999999999999999
    rows = [row] * 10 + [row[::-1]]
    for count in ("exact", "independent"):
        noisy = inject(np.zeros(200_000, int), "matrix", num_classes=11, seed=0, matrix=rows, count=count)
        assert noisy.transition[0, 10] == 0
        assert noisy.transition[0, :10] == pytest.approx(0.1, abs=0.004)


@pytest.mark.parametrize("name", ["T.csv", "T.txt", "T.npy"])
def test_from_a_file(tmp_path, name):
    file = tmp_path / name
    if name.endswith("npy"):
        np.save(file, np.array(T))
    else:
        np.savetxt(file, T, delimiter=",")
    noisy = inject(CLEAN, "matrix", num_classes=3, seed=0, path=str(file))
    assert noisy.sha256 == inject(CLEAN, "matrix", num_classes=3, seed=0, matrix=T).sha256


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.4]], "rows must sum to 1: row 1 sums to 0.9"),
        ([[0.5, 0.5]], "must be square: row 0 has 2 entries, there are 1 rows"),
        ([[1.5, -0.5], [0, 1]], r"row 0 has an entry outside 0 \.\. 1"),
        ([[1, 0], [0, 1]], "2 x 2, the data has 3 classes"),
        ([["a"]], "number"),
        ([], "0 x 0, the data has 3 classes"),
    ],
)
def test_matrices_that_cannot_be(tmp_path, matrix, message):
    with pytest.raises(ParameterError, match=message) as caught:
        inject(CLEAN, "matrix", num_classes=3, seed=0, matrix=matrix)
    assert caught.value.key == "matrix"


def test_rows_may_be_off_by_rounding():
    rows = [[0.333333, 0.333333, 0.333334], [0.0, 1.0, 0.0], [0.3333333, 0.3333333, 0.3333333]]
    assert inject(CLEAN, "matrix", num_classes=3, seed=0, matrix=rows).transition[1, 1] == 1


def test_one_of_matrix_and_path():
    for params in ({}, {"matrix": T, "path": "T.csv"}):
        with pytest.raises(ParameterError, match="either 'matrix' or 'path'"):
            inject(CLEAN, "matrix", num_classes=3, seed=0, **params)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0.5,0.5\n0.5,0.4\n", "sums to 0.9"),
        (b"a,b\n", r"T\.csv"),
        (b"1,0\n1\n", r"T\.csv"),
        (b"\x93NUMPY", r"T\.csv"),
        (None, r"T\.csv"),
    ],
)
def test_files_that_cannot_be(tmp_path, content, message):
    file = tmp_path / "T.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        inject(CLEAN, "matrix", num_classes=3, seed=0, path=str(file))


def test_a_file_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "T.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="allow_pickle"):
        inject(CLEAN, "matrix", num_classes=3, seed=0, path=str(tmp_path / "T.npy"))
