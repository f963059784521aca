"""The reader: a small safe part of YAML, with line numbers, that nothing can blow up."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from noisybench.errors import SuiteError
from noisybench.suite.reading import MAX_BYTES, Node, compose, plain, read


def value(text: str) -> object:
    return plain(compose(text, "s.yaml"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5e-4", 0.0005),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("010", 10),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("no", "no"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("'10'", "10"),
        ('"true"', "true"),
        ("'5e-4'", "5e-4"),
        (".inf", math.inf),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_are_read_as_yaml_1_2_reads_them(text: str, meant: object) -> None:
    found = compose(f"x: {text}", "s.yaml").value["x"].value
    assert found == meant
    assert type(found) is type(meant)


def test_keys_are_words_or_integers() -> None:
    assert value("{9: 1, '8': 2, true: 3, on: 4}") == {9: 1, "8": 2, "true": 3, "on": 4}


def test_nodes_know_line_and_key_also_in_flow_mappings() -> None:
    root = compose("a: 1\nb: {c: 2,\n  d: [3,\n 4]}\n", "s.yaml")
    b = root.value["b"]
    assert (root.value["a"].line, b.line, b.value["c"].line, b.value["d"].line) == (1, 2, 2, 3)
    assert b.value["d"].value[1].line == 4
    assert b.value["d"].value[1].key == "b.d[1]"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3", 3, "stated twice (first in line 1)"),
        ("x: {a: 1,\n a: 2}", 2, "stated twice"),
        ("a: &x 1\nb: *x", 2, "aliases"),
        ("a: !!python/object:os.system x", 1, "tags"),
        ("a: !x 1", 1, "tags"),
        (" !T%1AG9", 1, r"tags (!T\x1aG9)"),
        ("a: 1\n---\nb: 2", 2, "one YAML document"),
        ("a:\n\tb: 1", 2, "indent with spaces, not tabs"),
        ("a: [1, 2\nb: 3", 2, "not valid YAML"),
        ("a: b: c", 1, "not valid YAML"),
        ("? [a]\n: 1", 1, "a plain word"),
        ("\nn: " + "9" * 5000, 2, "too long"),
        ("a: 'x", 1, "not valid YAML"),
        ('a: 1\nb: "x\\0y"', 2, "may hold the character U+0000"),
        ('a: 1\n"\\e[2J": 2', 2, "may hold the character U+001B"),
    ],
)
def test_what_is_refused_names_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(SuiteError) as caught:
        compose(text, "s.yaml")
    assert caught.value.line == line
    assert says in str(caught.value)
    assert str(caught.value).startswith("s.yaml:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 10_000_000,
        b"{a: " * 2_500_000,
        b"- " * 5_000_000,
        b"[" * 900_000,
        b"{a: " * 200_000,
        b"- " * 400_000,
        b"\n".join(b" " * i + b"a:" for i in range(1200)),
        b"x" * 10_000_000,
        b"a:\n" * 3_000_000,
        b"".join(b"k%d: [*a, *a]\n" % i for i in range(60_000)),
    ],
    ids=[
        "list",
        "map",
        "dashes",
        "list below the limit",
        "map below",
        "dashes below",
        "block",
        "word",
        "keys",
        "alias",
    ],
)
def test_bombs_end_at_once_in_one_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_bytes(raw)
    with pytest.raises(SuiteError) as caught:
        read(path)
    assert caught.value.line is not None
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_the_size_limit_is_not_reached_by_a_file_of_just_that_size(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"a: 1\n#" + b"x" * (MAX_BYTES - 6))
    assert plain(read(path)) == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (bytes(range(256)), 2),
        (b"a: 1\nb: \xff\n", 2),
        (b"\x00" * 100, 1),
        ("a: 1".encode("utf-16"), 1),
        (b"\x7fELF\x02\x01", 1),
        (b"\x89PNG\r\n\x1a\n\x00", 1),
        (b"a: 1\n\nb: \x07", 3),
    ],
)
def test_binary_files_are_named_as_such(tmp_path: Path, raw: bytes, line: int) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(raw)
    with pytest.raises(SuiteError, match="not a text file") as caught:
        read(path)
    assert caught.value.line == line


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    root = read(path)
    assert plain(root) == {"a": 1, "b": 2}
    assert root.value["b"].line == 2


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read"):
        read(tmp_path / "none.yaml")


def test_an_edit_has_no_line() -> None:
    node = compose("{a: [1]}", "--set x={a: [1]}", line=None)
    assert node.value["a"].line is None
    assert node.is_edit
    assert not Node(1, "s.yaml", 1).is_edit
