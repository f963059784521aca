"""Means and intervals against values worked out by hand from a table of Student's t."""

from __future__ import annotations

import pytest
import scipy.stats

from noisybench.report.statistics import Summary, rounding, student_quantile, summarise, welch


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
    assert summarise([]) is None


def test_rounding_to_whole_images_is_the_least_spread_of_an_interval() -> None:
    """Of 50 images: steps of 2 points, 2 / sqrt 12 = 0.57735; 12.7062 x 0.57735 / sqrt 2 = 5.18728."""
    least = rounding(50)
    assert least == pytest.approx(0.57735, abs=1e-5)
    assert rounding(None) == 0.0
    equal = summarise([80.0, 80.0], least=least)
    assert equal is not None
    assert equal.std == 0.0
    assert equal.half_width == pytest.approx(5.18728, abs=1e-4)
    width = welch(equal, Summary(2, 70.0, 0.0, least=least)).half_width()
    assert width == pytest.approx(student_quantile(2) * least)


def test_a_larger_spread_is_left_as_it_is() -> None:
    values = [80.1, 82.7, 84.2]
    with_floor, without = summarise(values, least=rounding(50)), summarise(values)
    assert with_floor is not None
    assert without is not None
    assert (with_floor.std, with_floor.half_width) == (without.std, without.half_width)


def test_order_never_shows() -> None:
    values = [0.1, 0.2, 0.3, 1e9, -1e9, 0.7]
    assert summarise(values) == summarise(values[::-1])


def test_welch_is_scipys_from_summaries() -> None:
    first, second = [80.0, 82.0, 84.0], [70.0, 79.0, 88.0, 73.0, 75.0]
    one, two = summarise(first), summarise(second)
    assert one is not None
    assert two is not None
    found = welch(one, two)
    theirs = scipy.stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval()
    assert found.degrees == pytest.approx(theirs.df)
    assert found.mean / (found.error or 0) == pytest.approx(theirs.statistic)
    assert found.half_width() == pytest.approx((interval.high - interval.low) / 2)


def test_welch_of_one_value_knows_no_error() -> None:
    found = welch(Summary(1, 80.0), Summary(3, 70.0, 1.0))
    assert (found.mean, found.half_width()) == (10.0, None)


def test_welch_without_any_spread_has_no_width() -> None:
    assert welch(Summary(3, 80.0, 0.0), Summary(4, 70.0, 0.0)).half_width() == 0.0
