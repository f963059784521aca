"""The block model against values worked out by hand and against ordinary least squares with dummy columns."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from noisybench.report.blocks import fit
from noisybench.report.statistics import rounding, summarise


def seeds(*values: float) -> dict[str, float]:
    """Values of seeds 0, 1, ..."""
    return {str(seed): value for seed, value in enumerate(values)}


THREE = {"A": seeds(50, 51, 52), "B": seeds(80, 82, 84), "C": seeds(81, 82, 82)}
"""Sums of squares: 32/3 within methods, 74/9 of seeds, hence 22/9 left on (3 - 1)(3 - 1) degrees of freedom."""


def test_the_residual_rests_on_methods_less_one_times_seeds_less_one() -> None:
    block = fit(THREE)
    assert block.degrees == 4
    assert block.residual == pytest.approx((22 / 36) ** 0.5, abs=1e-8)
    found = block.difference("B", "A")
    assert (found.mean, found.degrees, found.own) == (31.0, 4, False)
    assert found.error == pytest.approx((22 / 36 * 2 / 3) ** 0.5, abs=1e-8)
    assert found.half_width() == pytest.approx(2.77645 * (22 / 54) ** 0.5, abs=1e-4)


def test_intervals_of_means_pool_the_spread_with_satterthwaites_degrees() -> None:
    """Mean squares 37/9 (seeds) and 11/18 (left); (16/9)^2 / ((37/27)^2 / 2 + (11/27)^2 / 4) = 3.2235 degrees."""
    quantile = scipy.stats.t.ppf(0.975, 3.223488)
    for method, mean in (("A", 51.0), ("B", 82.0), ("C", 245 / 3)):
        found = fit(THREE).summaries[method]
        assert found.mean == pytest.approx(mean)
        assert found.half_width == pytest.approx(quantile * (16 / 27) ** 0.5, abs=1e-5)
        assert found.std == pytest.approx(np.std(list(THREE[method].values()), ddof=1))


def test_two_methods_are_the_paired_t_test_and_one_method_is_students_interval() -> None:
    one, two = [71.0, 74.5, 72.0, 70.0], [73.0, 75.0, 75.5, 71.0]
    found = fit({"A": seeds(*one), "B": seeds(*two)}).difference("B", "A")
    interval = scipy.stats.ttest_rel(two, one).confidence_interval()
    assert found.degrees == 3
    assert found.half_width() == pytest.approx((interval.high - interval.low) / 2, abs=1e-6)
    alone, expected = fit({"A": seeds(*one)}).summaries["A"], summarise(one)
    assert expected is not None
    assert alone.half_width == pytest.approx(expected.half_width, abs=1e-8)


def test_seeds_that_differ_by_ten_points_cost_a_difference_nothing() -> None:
    block = fit({"A": seeds(60, 70, 80), "B": seeds(61, 71, 81)})
    assert block.residual == 0.0
    assert block.difference("B", "A").half_width() == 0.0


def test_equal_differences_of_two_seeds_are_rounding_not_certainty() -> None:
    """Of 50 images: a difference of two runs has twice the variance of rounding, one degree of freedom is left."""
    least = rounding(50)
    block = fit({"A": seeds(60, 62), "B": seeds(68, 70)}, least)
    assert block.rounded
    assert block.difference("B", "A").half_width() == pytest.approx(12.7062 * least, abs=1e-4)
    assert all((s.half_width or 0) > 0 for s in block.summaries.values())
    same = fit({"A": seeds(60, 60), "B": seeds(68, 68), "C": seeds(60, 62)}, least)
    assert same.own == frozenset(), "one image more in one run is no large spread"
    assert all((s.half_width or 0) > 0 for s in same.summaries.values())


def test_ordinary_spreads_know_no_least() -> None:
    with_floor, without = fit(THREE, rounding(500)), fit(THREE)
    assert not with_floor.rounded
    assert with_floor.residual == without.residual
    for method, found in without.summaries.items():
        assert with_floor.summaries[method].half_width == found.half_width
    assert with_floor.difference("A", "B") == without.difference("A", "B")


def test_missing_seeds_are_handled_by_least_squares() -> None:
    """Against a regression on dummy columns of methods and seeds."""
    draws = np.random.default_rng(3).normal(70, 4, (5, 6)).round(2)
    gone = {(0, 1), (0, 2), (1, 5), (3, 0), (4, 0), (4, 3)}
    values = {name: {str(j): draws[i, j] for j in range(6) if (i, j) not in gone} for i, name in enumerate("ABCDE")}
    rows = [(i, j, draws[i, j]) for i in range(5) for j in range(6) if (i, j) not in gone]
    design = np.array([[i == k for k in range(5)] + [j == k for k in range(1, 6)] for i, j, _ in rows], dtype=float)
    answer = np.array([y for *_, y in rows])
    beta, left, _, _ = np.linalg.lstsq(design, answer, rcond=None)
    degrees = len(rows) - 10
    covariance = np.linalg.inv(design.T @ design) * left[0] / degrees

    block = fit(values)
    assert block.degrees == degrees
    assert block.residual == pytest.approx((left[0] / degrees) ** 0.5, abs=1e-8)
    for i, name in enumerate("ABCD"):
        found = block.difference(name, "E")
        assert found.mean == pytest.approx(beta[i] - beta[4], abs=1e-7)
        variance = covariance[i, i] + covariance[4, 4] - 2 * covariance[i, 4]
        assert found.error == pytest.approx(variance**0.5, abs=1e-7)
        assert block.adjusted[name] == pytest.approx(beta[i] + np.append(0, beta[5:]).mean(), abs=1e-7)
    contrasts = np.array([[1, 0, 0, 0, -1], [0, 1, 0, 0, -1], [0, 0, 1, 0, -1], [0, 0, 0, 1, -1]], dtype=float)
    shared = contrasts @ covariance[:5, :5] @ contrasts.T
    scale = np.sqrt(np.diag(shared))
    assert block.correlation("E") == pytest.approx((shared / np.outer(scale, scale)).min(), abs=1e-5)


def test_a_spread_of_more_than_three_times_the_median_is_not_pooled() -> None:
    """Standard deviations 1, 1, 1 and 3 stay together; with 3.1 the fourth has Student's interval and Welch's test."""
    three = {name: seeds(80, 81, 82) for name in "ABC"}
    assert fit({**three, "D": seeds(70, 73, 76)}).own == frozenset()
    wide = [70.0, 73.1, 76.2]
    block = fit({**three, "D": seeds(*wide)})
    assert block.own == {"D"}
    assert block.degrees == 4
    expected, found = summarise(wide), block.summaries["D"]
    assert expected is not None
    assert (found.half_width, found.own) == (expected.half_width, True)
    assert not block.summaries["A"].own
    difference = block.difference("A", "D")
    theirs = scipy.stats.ttest_ind([80, 81, 82], wide, equal_var=False)
    assert difference.own
    assert difference.mean / (difference.error or 0) == pytest.approx(theirs.statistic)
    assert difference.degrees == pytest.approx(theirs.df)


def test_methods_without_a_common_seed_are_compared_by_welch() -> None:
    block = fit({"A": {"0": 80.0, "1": 82.0}, "B": {"5": 70.0, "6": 73.0}, "C": {"0": 60.0, "1": 61.0}})
    assert not block.difference("A", "C").own
    assert block.difference("A", "B").own


def test_one_seed_gives_no_interval_and_takes_no_part() -> None:
    block = fit({"A": seeds(80), "B": seeds(70, 71, 72), "C": seeds(60, 62, 63), "D": {}})
    assert block.summaries["A"].half_width is None
    assert block.difference("B", "A").half_width() is None
    assert block.degrees == 2
    assert "D" not in block.summaries
    assert fit({"A": seeds(80), "B": seeds(70)}).difference("A", "B").half_width() is None


def test_neither_the_order_of_methods_nor_that_of_seeds_shows() -> None:
    one = fit({"A": {"0": 80.1, "1": 82.7, "2": 81.3}, "B": {"0": 70.3, "2": 71.9}, "C": {"1": 60.2, "2": 63.3}})
    two = fit({"C": {"2": 63.3, "1": 60.2}, "A": {"2": 81.3, "0": 80.1, "1": 82.7}, "B": {"2": 71.9, "0": 70.3}})
    assert (one.residual, one.degrees, dict(one.adjusted)) == (two.residual, two.degrees, dict(two.adjusted))
    assert dict(one.summaries) == dict(two.summaries)


def test_equal_values_have_no_spread_whatever_rounding_leaves() -> None:
    """The mean of 92.8, 92.8, 92.8 in floating point is not 92.8."""
    block = fit({"A": seeds(92.8, 92.8, 92.8), "B": seeds(93.4, 93.4, 93.4), "C": seeds(84.8, 84.8, 84.8)})
    assert block.own == frozenset()
    assert [s.half_width for s in block.summaries.values()] == [0.0, 0.0, 0.0]
    assert block.difference("A", "B").error == 0.0


@pytest.mark.parametrize("methods", [2, 5, 12, 13, 40])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_full_table_is_its_analysis_of_variance(methods: int, n: int) -> None:
    """Residual and error of a difference by the sums of squares, for any size."""
    table = np.random.default_rng(methods).normal(70, 2, (methods, n)).round(2)
    block = fit({f"m{i}": seeds(*row) for i, row in enumerate(table)})
    pooled = [i for i in range(methods) if f"m{i}" not in block.own]
    kept = table[pooled]
    left = kept - kept.mean(axis=1, keepdims=True) - kept.mean(axis=0) + kept.mean()
    square = (left**2).sum() / ((len(pooled) - 1) * (n - 1))
    assert block.degrees == (len(pooled) - 1) * (n - 1)
    assert block.residual == pytest.approx(square**0.5, abs=1e-8)
    one, two = (f"m{i}" for i in pooled[:2])
    assert block.difference(one, two).error == pytest.approx((square * 2 / n) ** 0.5, abs=1e-8)
