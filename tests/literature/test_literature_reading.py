"""A file that is no proper YAML ends in one line with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisybench.errors import DataError
from noisybench.literature.reading import read


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a: 1\nb: caf\xe9\n", "t.yml:2: not a text file: byte 0xe9 is no UTF-8"),
        (b"a: 1\nb: 2021-13-45\n", "t.yml:2: not valid YAML: 2021-13-45 is no value: month must be in 1..12"),
        (b"a: 1\nb: !!bool perhaps\n", "t.yml:2: not valid YAML: perhaps is no value: 'perhaps'"),
        (b"a: 1\nb: {c: 2, d: 3,\n  c: 4}\n", "t.yml:3: c: the key is stated twice (first in line 2)"),
        (b'"\\e[31m": 1\n"\\e[31m": 1\n', "t.yml:2: \\x1b[31m: the key is stated twice (first in line 1)"),
        (b"a: 1\n- b\n", "t.yml:2: not valid YAML: while parsing a block mapping, did not find expected key"),
        (
            b"a: 1\n---\nb: 2\n",
            "t.yml:2: not valid YAML: expected a single document in the stream, but found another document",
        ),
        (b"a: 1\n? [b, c]\n: 2\n", "t.yml:2: a key must be a plain word"),
        (b"a: \x00\n", "t.yml: not valid YAML: control characters are not allowed"),
        (b"[" * 5000, "t.yml:1: not valid YAML"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "t.yml").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "t.yml", "t.yml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert "unicode string" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^t\.yml cannot be read: No such file or directory$"):
        read(tmp_path / "t.yml", "t.yml")


def test_values_are_plain_and_what_was_merged_is_no_second_key(tmp_path: Path) -> None:
    (tmp_path / "t.yml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read(tmp_path / "t.yml", "t.yml") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}
    (tmp_path / "t.yml").write_text("")
    assert read(tmp_path / "t.yml", "t.yml") is None
