"""Text as LaTeX shows it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisybench.literature.tex import escape


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a_b & 5 % of #1, $x^2$", r"a\_b \& 5 \% of \#1, \$x\textasciicircum{}2\$"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\textbraceleft{}/etc/passwd\textbraceright{}"),
        ("Müller, Žiga, Çelik, Łukasz, Größe", r"M{\"{u}}ller, {\v{Z}}iga, {\c{C}}elik, {\L}ukasz, Gr{\"{o}}{\ss}e"),
        ("naïve", r"na{\"{\i}}ve"),
        ("ϵ-Softmax, α = 8, 5 ± 1", r"\ensuremath{\epsilon}-Softmax, \ensuremath{\alpha} = 8, 5 \ensuremath{\pm} 1"),
        ("[1cm] *starred*", "{[}1cm{]} {*}starred{*}"),
        ("two\nlines\tand a\x00zero", "two lines and azero"),
        ("雪", "{[}U+96EA{]}"),
    ],
)
def test_what_latex_prints_is_the_text(text: str, want: str) -> None:
    assert escape(text) == want


def balanced(text: str) -> bool:
    """Braces nest, as TeX and BibTeX count them."""
    depth = 0
    for c in text.replace(r"\{", "").replace(r"\}", ""):
        depth += {"{": 1, "}": -1}.get(c, 0)
        if depth < 0:
            return False
    return depth == 0


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_whatever_the_text_it_stays_one_line_of_balanced_ascii(text: str) -> None:
    out = escape(text)
    assert out.isascii()
    assert out.isprintable()
    assert balanced(out)
    assert not any(f" {c}" in f" {out}".replace(f"\\{c}", "") for c in "%&#$_^")
