"""Rank statistics against the literature's worked examples and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from noisybench.report.ranks import friedman, kendall, places, signed_rank

DEMSAR = {  # Demsar 2006, Table 6: areas under the ROC curve; of the two 0.975 in one row it ranks the first higher
    "C4.5": "763 599 954 628 882 936 661 583 775 1000 940 619 972 957",
    "C4.5+m": "768 591 971 661 888 931 668 583 838 1000 962 666 981 978",
    "C4.5+cf": "771 590 968 654 886 916 609 563 866 1000 965 614 975.1 946",
    "C4.5+m+cf": "798 569 967 657 898 931 685 625 875 1000 962 669 975 970",
}
TABLE = {name: [float(x) / 10 for x in row.split()] for name, row in DEMSAR.items()}


def test_the_worked_example_of_demsar() -> None:
    """Average ranks 3.143, 2.000, 2.893, 1.964; F = 3.69 with 3 and 39 degrees of freedom; critical difference 1.25."""
    found = friedman(TABLE)
    assert found is not None
    assert [round(found.ranks[name], 3) for name in TABLE] == [3.143, 2.0, 2.893, 1.964]
    assert found.blocks == 14
    assert found.statistic == pytest.approx(3.69, abs=0.01)
    assert found.p == pytest.approx(scipy.stats.f.sf(3.69, 3, 39), abs=2e-4)
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert found.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)


def test_groups_are_the_largest_runs_that_are_not_told_apart() -> None:
    """Ranks 1, 2, 3, 4 in every one of ten blocks; the critical difference is 2.569 sqrt(20/60) = 1.48."""
    found = friedman({name: [90.0 - 10 * i] * 10 for i, name in enumerate("ABCD")})
    assert found is not None
    assert found.critical == pytest.approx(2.569 * (20 / 60) ** 0.5, abs=1e-3)
    assert found.groups == (("A", "B"), ("B", "C"), ("C", "D"))
    assert found.p == 0.0


def test_nine_blocks_are_too_few() -> None:
    assert friedman({name: row[:9] for name, row in TABLE.items()}) is None
    assert friedman({name: row[:10] for name, row in TABLE.items()}) is not None
    assert friedman({"C4.5": TABLE["C4.5"]}) is None
    assert friedman({}) is None


def test_signed_ranks_are_scipys_exact_ones() -> None:
    draws = np.random.default_rng(0).normal(0.5, 1, (2, 9))
    first, second = ({str(i): float(x) for i, x in enumerate(row)} for row in draws)
    expected = scipy.stats.wilcoxon(draws[0], draws[1], method="exact").pvalue
    assert signed_rank(first, second) == pytest.approx(expected)


def test_signed_ranks_with_ties_by_hand() -> None:
    """Differences 1, 1, 1, 1, 1, -2: the sum of the positive ranks is 15 of 21; of 64 sign patterns 17 give 15 or more
    (none negative: 21; one of the five: 18; two of them or the sixth alone: 15), so p = 2 x 17 / 64.
    """
    first = {str(i): 81.0 for i in range(5)} | {"5": 78.0}
    assert signed_rank(first, dict.fromkeys(first, 80.0)) == pytest.approx(34 / 64)
    assert signed_rank(first, first) == 1.0


def test_below_six_seeds_there_is_no_signed_rank_test() -> None:
    five = {str(i): 80.0 + i for i in range(5)}
    assert signed_rank(five, dict.fromkeys(five, 0.0)) is None
    six = {**five, "5": 90.0}
    assert signed_rank(six, {**dict.fromkeys(five, 0.0), "9": 1.0}) is None  # five in common
    assert signed_rank(six, dict.fromkeys(six, 0.0)) == pytest.approx(2 / 64)


def test_kendalls_tau() -> None:
    """Of ten pairs of 1 2 3 4 5 and 3 1 2 5 4, three are discordant: (7 - 3) / 10."""
    first = dict(zip("abcde", (1.0, 2.0, 3.0, 4.0, 5.0), strict=True))
    second = dict(zip("abcde", (3.0, 1.0, 2.0, 5.0, 4.0), strict=True))
    assert kendall(first, second) == pytest.approx(0.4)
    assert kendall(first, {**second, "f": 9.0}) == pytest.approx(0.4)
    assert kendall(first, dict.fromkeys(first, 1.0)) is None
    assert kendall({"a": 1.0}, {"a": 2.0}) is None


def test_equal_means_share_the_better_place() -> None:
    assert places({"a": 80.0, "b": 90.0, "c": 80.0, "d": 70.0}) == {"a": 2, "b": 1, "c": 2, "d": 4}
