"""Dunnett's quantiles against his printed tables and scipy's multivariate t."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from noisybench.report.critical import dunnett_quantile
from noisybench.report.statistics import student_quantile

PRINTED = {  # Dunnett 1964, Table II
    5: (2.57, 3.03, 3.29, 3.48, 3.62, 3.73, 3.82, 3.90, 3.97),
    10: (2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24),
    20: (2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95),
    math.inf: (1.96, 2.21, 2.35, 2.44, 2.51, 2.57, 2.61, 2.65, 2.69),
}


def test_quantiles_are_those_of_the_printed_table() -> None:
    for degrees, row in PRINTED.items():
        found = [dunnett_quantile(k, degrees) for k in range(1, 10)]
        assert found == pytest.approx(row, abs=0.0051)


@pytest.mark.parametrize(("k", "degrees", "correlation"), [(2, 2, 0.5), (3, 4, 0.5), (5, 30, 0.3), (4, 8, 0.0)])
def test_scipys_multivariate_t_gives_the_confidence_back(k: int, degrees: int, correlation: float) -> None:
    c = dunnett_quantile(k, degrees, correlation)
    shape = np.full((k, k), correlation) + (1 - correlation) * np.eye(k)
    law = scipy.stats.multivariate_t(shape=shape, df=degrees)
    inside = law.cdf([c] * k, lower_limit=[-c] * k, random_state=np.random.default_rng(0))
    assert inside == pytest.approx(0.95, abs=3e-4)


def test_one_comparison_is_students_test() -> None:
    assert dunnett_quantile(1, 6) == student_quantile(6) == pytest.approx(2.44691, abs=1e-5)


def test_many_comparisons_and_few_degrees_stay_between_students_and_bonferronis_bounds() -> None:
    for degrees in (1, 2, 3, 400):
        for k in (2, 60):
            found = dunnett_quantile(k, degrees)
            assert student_quantile(degrees) < found < student_quantile(degrees, 1 - 0.05 / k)
