"""How numbers are written."""

from __future__ import annotations

from noisybench.report.statistics import Summary
from noisybench.report.words import listing, p_is, published, signed, value


def test_values() -> None:
    assert value(Summary(3, 87.654, 1.0, 0.416)) == "87.65 ± 0.42"
    assert value(Summary(1, 87.654)) == "87.65"


def test_differences_carry_a_sign_and_zero_none() -> None:
    assert [signed(x) for x in (1.24, -0.26, 0.04, -0.04, 0.0)] == ["+1.2", "-0.3", "0.0", "0.0", "0.0"]


def test_published_scores_keep_their_decimals() -> None:
    assert [published(x) for x in (93.0, 95.1, 89.29)] == ["93.0", "95.1", "89.29"]


def test_no_p_value_is_nought() -> None:
    assert [p_is(p) for p in (0.0, 1e-5, 0.0312, 1.0)] == ["p < 0.001", "p < 0.001", "p = 0.031", "p = 1"]


def test_lists() -> None:
    assert [listing(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
