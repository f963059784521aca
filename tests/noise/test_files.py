"""Label files: written by ``inject``, read back, and read from others."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from noisybench.errors import DataError
from noisybench.noise import inject, read_labels, write_labels
from noisybench.noise.files import FORMATS

CLEAN = np.repeat(np.arange(10), 30)
NOISY = inject(CLEAN, "symmetric", num_classes=10, seed=3, rate=0.4, flip="inclusive")


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_is_read_back(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    sidecar = write_labels(NOISY, path, about={"name": "made"})
    assert {p.name for p in tmp_path.iterdir()} == {path.name, sidecar.name}
    stored = read_labels(path)
    assert (stored.labels == NOISY.labels).all()
    assert stored.clean is None or (stored.clean == CLEAN).all()
    assert (stored.clean is None) == (suffix in (".npy", ".json"))
    back = inject(CLEAN, "file", num_classes=10, seed=0, path=str(path))
    assert back.sha256 == NOISY.sha256
    assert (back.transition == NOISY.transition).all()
    first = path.read_bytes(), sidecar.read_bytes()
    write_labels(NOISY, path, about={"name": "made"})
    assert (path.read_bytes(), sidecar.read_bytes()) == first


def test_sidecar(tmp_path):
    path = tmp_path / "labels.csv"
    facts = json.loads(write_labels(NOISY, path, about={"name": "made"}).read_text())
    assert facts["kind"] == "symmetric"
    assert facts["params"] == {"rate": 0.4, "flip": "inclusive", "count": "exact", "targets": "uniform"}
    assert facts["convention"] == {"flip": "inclusive", "count": "exact", "targets": "uniform"}
    assert (facts["rate"], facts["seed"], facts["size"], facts["num_classes"]) == (0.4, 3, 300, 10)
    assert facts["expected_rate"] == pytest.approx(0.36)
    assert facts["realised_rate"] == (NOISY.labels != CLEAN).mean()
    assert facts["flipped"] == (NOISY.labels != CLEAN).sum()
    assert facts["transition"] == NOISY.transition.tolist()
    assert facts["class_sizes"] == [30] * 10
    assert facts["data"] == {"name": "made"}
    assert facts["sha256"] == {
        "labels": NOISY.sha256,
        "clean": hashlib.sha256(CLEAN.astype("<i8").tobytes()).hexdigest(),
        "file": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_csv_and_json_look_as_others_expect(tmp_path):
    small = inject(np.array([0, 1, 1]), "pairflip", num_classes=2, seed=0, rate=1.0)
    write_labels(small, tmp_path / "a.csv")
    write_labels(small, tmp_path / "a.json")
    assert (tmp_path / "a.csv").read_text() == "index,clean,label\n0,0,1\n1,1,0\n2,1,0\n"
    assert json.loads((tmp_path / "a.json").read_text()) == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.csv", b"1\n0\n2\n", None),
        ("a.csv", b"\xef\xbb\xbffile,label\na.png,1\nb.png,0\nc.png,2\n", None),
        ("a.csv", b"first, second\n9,1\n9,0\n9,2\n", "second"),
        ("a.csv", b"only\n1\n0\n2\n", None),
        ("a.json", b"[1, 0, 2]", None),
        ("a.json", b'{"x": [1, 0, 2], "y": [0, 0, 0]}', "x"),
    ],
)
def test_files_of_others(tmp_path, name, content, column):
    (tmp_path / name).write_bytes(content)
    assert read_labels(tmp_path / name, column).labels.tolist() == [1, 0, 2]


def test_columns_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.array([1, 0]), two=np.array([0, 0], np.uint8))
    assert read_labels(tmp_path / "a.npz", "two").labels.tolist() == [0, 0]
    with pytest.raises(DataError, match="'column' must say which labels are meant; it has: one, two"):
        read_labels(tmp_path / "a.npz")
    with pytest.raises(DataError, match="has no 'three'; it has: one, two"):
        read_labels(tmp_path / "a.npz", "three")
    np.save(tmp_path / "a.npy", np.array([1, 0]))
    with pytest.raises(DataError, match="has no columns, so no 'one'"):
        read_labels(tmp_path / "a.npy", "one")


def test_the_clean_twin_of_a_column(tmp_path):
    arrays = {"clean_label": [5, 6], "noisy_label": [5, 5], "clean_coarse_label": [0, 1], "noisy_coarse_label": [1, 1]}
    np.savez(tmp_path / "a.npz", **{name: np.array(values) for name, values in arrays.items()})
    assert read_labels(tmp_path / "a.npz").clean.tolist() == [5, 6]
    assert read_labels(tmp_path / "a.npz", "noisy_coarse_label").clean.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"label\n", "whole numbers"),
        ("a.csv", b"1.0\n2.0\n", "whole numbers .N., not float64"),
        ("a.csv", b"label\n1\nx\n", "whole numbers"),
        ("a.csv", b"1,2\n3\n", "row 2 has 1 fields, not 2"),
        ("a.csv", b"1,2\n3,4\n", "2 columns and no heading"),
        ("a.csv", b"\xff\xfe\x00", "a.csv"),
        ("a.json", b"[1, 2", "a.json"),
        ("a.json", b"3", "must hold a list of labels"),
        ("a.json", b"[1, 2.5]", "not float64"),
        ("a.json", b"[[1], [2]]", r"not int64 \[2, 1\]"),
        ("a.json", b"[true, false]", "not bool"),
        ("a.json", b"[]", "whole numbers"),
        ("a.npy", b"\x93NUMPY", "a.npy"),
        ("a.npz", b"PK", "a.npz"),
        ("a.pt", b"PK", "a.pt"),
        ("a.txt", b"1", "label files end in"),
        ("missing.npz", None, "No such file"),
    ],
)
def test_files_that_hold_no_labels(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="allow_pickle"):
        read_labels(tmp_path / "a.npy")


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_labels(NOISY, tmp_path / "file" / "labels.csv")
    with pytest.raises(DataError, match="label files end in"):
        write_labels(NOISY, tmp_path / "labels.parquet")
