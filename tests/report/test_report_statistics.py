"""Means and intervals against values worked out by hand from a table of Student's t."""

from __future__ import annotations

import pytest

from noisybench.report.statistics import lead, paired_difference, student_quantile, summarise


@pytest.mark.parametrize(
    ("degrees", "confidence", "quantile"),
    [(1, 0.95, 12.7062), (2, 0.95, 4.30265), (4, 0.95, 2.77645), (2, 0.99, 9.92484), (2, 0.975, 6.20535)],
)
def test_quantiles_are_those_of_the_printed_table(degrees: int, confidence: float, quantile: float) -> None:
    assert student_quantile(degrees, confidence) == pytest.approx(quantile, abs=1e-4)


def test_three_values_by_hand() -> None:
    """80, 82, 84: mean 82, s = 2, half width 4.30265 x 2 / sqrt 3 = 4.96827."""
    found = summarise([80.0, 82.0, 84.0])
    assert found is not None
    assert (found.n, found.mean, found.std) == (3, 82.0, 2.0)
    assert found.half_width == pytest.approx(4.96827, abs=1e-4)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    found = summarise([80.0])
    assert found is not None
    assert (found.n, found.mean, found.std, found.half_width) == (1, 80.0, None, None)
    assert not found.excludes_zero()
    assert summarise([]) is None


def test_order_never_shows() -> None:
    values = [0.1, 0.2, 0.3, 1e9, -1e9, 0.7]
    assert summarise(values) == summarise(values[::-1])


def test_differences_are_paired_by_seed() -> None:
    """Differences 10, 10, 13 over the shared seeds: mean 11, s = sqrt 3, half width 4.30265."""
    found = paired_difference({"0": 90, "1": 80, "2": 70, "9": 5}, {"2": 57, "1": 70, "0": 80, "8": 1})
    assert found is not None
    assert (found.n, found.mean) == (3, 11.0)
    assert found.half_width == pytest.approx(4.30265, abs=1e-4)
    assert found.excludes_zero()
    assert paired_difference({"0": 1.0}, {"1": 1.0}) is None


def test_lead_corrects_for_the_number_of_others() -> None:
    """Differences 5, 6, 7 (s = 1): alone 4.303 / sqrt 3 = 2.5 and with ten others 14.09 / sqrt 3 = 8.1 half width."""
    best = {"0": 90.0, "1": 90.0, "2": 90.0}
    other = {"0": 85.0, "1": 84.0, "2": 83.0}
    assert lead(best, {"a": other}) == {"a": True}
    assert lead(best, {str(i): other for i in range(10)}) == {str(i): False for i in range(10)}


def test_one_seed_tells_nothing_apart() -> None:
    assert lead({"0": 90.0}, {"a": {"0": 10.0}}) == {"a": False}
