"""Suites nobody wrote by hand: valid ones expand, broken ones end in one line with file and line, never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generated import STRANGE, broken_suites, suites, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from suite_cases import EXAMPLE

from noisybench.cli import main
from noisybench.errors import SuiteError
from noisybench.spec import canonical_json
from noisybench.suite import build_plan, check_plan, load_suite, shipped_suites

CALM = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=CALM)
MANY = settings(max_examples=2500, deadline=None, database=None, suppress_health_check=CALM)
SHIPPED = [suite.path for suite in shipped_suites()]


def check_valid(suite: dict[str, Any], flow: bool | None, folder: Path) -> None:
    path = folder / "s.yaml"
    path.write_text(text_of(suite, flow), encoding="utf-8")
    first, again = load_suite(path).expand(), load_suite(path).expand()
    ids = [spec.run_id for spec in first.runs]
    assert ids
    assert len(set(ids)) == len(ids)
    assert ids == [spec.run_id for spec in again.runs]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*-[0-9a-f]{12}", run_id) and len(run_id) < 256 for run_id in ids)
    plan = build_plan(first)
    assert check_plan(json.loads(canonical_json(plan)), plan) == plan


def check_one_line(path: Path) -> None:
    """The suite does not load, and the reason is one line that begins with file and line."""
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    check_message(caught.value, path)


def check_message(error: SuiteError, path: Path) -> None:
    message = str(error)
    assert re.match(re.escape(str(path)) + r":[1-9]\d*: ", message), message
    assert message.isprintable(), message
    assert len(message) < len(str(path)) + 2000
    assert error.exit_code == 2


def check_anything(raw: bytes, folder: Path) -> None:
    """Any bytes: a suite that expands, or one line."""
    path = folder / "s.yaml"
    path.write_bytes(raw)
    try:
        load_suite(path).expand()
    except SuiteError as error:
        check_message(error, path)


@given(suites(), st.sampled_from([False, True, None]))
@FEW
def test_valid_suites_expand(tmp_path: Path, suite: dict[str, Any], flow: bool | None) -> None:
    check_valid(suite, flow, tmp_path)


@given(broken_suites(), st.sampled_from([False, True, None]))
@FEW
def test_broken_suites_end_in_one_line(tmp_path: Path, suite: dict[str, Any], flow: bool | None) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text_of(suite, flow), encoding="utf-8")
    check_one_line(path)


@given(broken_suites())
@settings(FEW, max_examples=8)
def test_the_command_ends_with_2_and_one_line(tmp_path: Path, suite: dict[str, Any]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text_of(suite), encoding="utf-8")
    for command in (["validate", str(path)], ["run", str(path), "--runs", str(tmp_path / "runs")]):
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
            patch.setattr(sys, "argv", ["noisybench", *command])
            with pytest.raises(SystemExit) as end:
                main()
        assert end.value.code == 2
        assert re.fullmatch(r"noisybench: .*s\.yaml:[1-9]\d*: [^\n]*\n", said.getvalue())
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@given(suites(), st.sampled_from([False, True, None]))
@MANY
def test_many_valid_suites_expand(tmp_path: Path, suite: dict[str, Any], flow: bool | None) -> None:
    check_valid(suite, flow, tmp_path)


@pytest.mark.slow
@given(broken_suites(), st.sampled_from([False, True, None]))
@MANY
def test_many_broken_suites_end_in_one_line(tmp_path: Path, suite: dict[str, Any], flow: bool | None) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text_of(suite, flow), encoding="utf-8")
    check_one_line(path)


# -- shipped suites with damage ---------------------------------------------------------------------------------------

TOKENS = [
    *(b"\0", b"\xef\xbb\xbf", b"\r", b"\t", b"\n", b"  ", b"\xff", "\u2028".encode(), "雪".encode()),
    *(
        b"&a ",
        b"*a",
        b"!!python/name:os.system ",
        b"%TAG ! x\n",
        b"---\n",
        b"...",
        b"<<: ",
        b"? ",
        b"|\n",
        b">-\n",
        b"#",
    ),
    *(b"{", b"}", b"[", b"]", b"[[[[", b": ", b"- ", b"'", b'"', b'"\\0"', b'"\\x1b[2J"'),
    *(b"9" * 30, b"-1", b"1e999", b".nan", b"null"),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A small suite, or a shipped one, with bytes cut, doubled, changed, moved, and tokens of YAML thrown in."""
    raw = draw(st.sampled_from([EXAMPLE.encode(), *(path.read_bytes() for path in SHIPPED)]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(start + 40, len(raw))))
        kind = draw(st.sampled_from(["token", "cut", "double", "byte", "end"]))
        if kind == "token":
            raw = raw[:start] + draw(st.sampled_from(TOKENS)) + raw[draw(st.sampled_from([start, stop])) :]
        elif kind == "cut":
            raw = raw[:start] + raw[stop:]
        elif kind == "double":
            raw = raw[:stop] + raw[start:]
        elif kind == "byte":
            raw = raw[:start] + draw(st.binary(min_size=1, max_size=3)) + raw[start + 1 :]
        else:
            raw = raw[:start]
    return raw


def _strange_value(draw: Callable[..., Any]) -> dict[str, Any]:
    suite: Any = draw(suites())
    node, path = suite, []
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = draw(st.sampled_from(list(keys)))
        path.append(key)
        if not isinstance(node[key], (dict, list)) or not node[key] or draw(st.booleans()):
            node[key] = draw(STRANGE)
            return suite  # type: ignore[no-any-return]  # built as a dict
        node = node[key]


strange = st.composite(_strange_value)()


@given(damaged())
@FEW
def test_damaged_suites_load_or_end_in_one_line(tmp_path: Path, raw: bytes) -> None:
    check_anything(raw, tmp_path)


@given(strange)
@FEW
def test_strange_values_load_or_end_in_one_line(tmp_path: Path, suite: dict[str, Any]) -> None:
    check_anything(text_of(suite).encode(), tmp_path)


@pytest.mark.slow
@given(damaged())
@MANY
def test_many_damaged_suites_load_or_end_in_one_line(tmp_path: Path, raw: bytes) -> None:
    check_anything(raw, tmp_path)


@pytest.mark.slow
@given(strange)
@MANY
def test_many_strange_values_load_or_end_in_one_line(tmp_path: Path, suite: dict[str, Any]) -> None:
    check_anything(text_of(suite).encode(), tmp_path)
