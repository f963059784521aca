"""Dunnett's and Hsu's comparisons with numbers from the printed tables."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from noisybench.report.blocks import Block, fit
from noisybench.report.comparisons import against, standing

PATTERN = (1, -1, 1, -1, 1, -1)


def six(*means: float) -> Block:
    """Six methods, three seeds: the residual is +-(1, -1, 0), its mean square 12 / 10 on ten degrees of freedom."""
    shift = (0.0, 2.0, -2.0)
    rows = zip("ABCDEF", means, PATTERN, strict=True)
    return fit({m: {str(j): mean + shift[j] + sign * (1, -1, 0)[j] for j in range(3)} for m, mean, sign in rows})


ERROR = (1.2 * 2 / 3) ** 0.5
"""Of a difference of two means of three."""


def test_tied_with_best_by_hsu() -> None:
    """Dunnett 1964: 2.99 for five comparisons, ten degrees: 2.67 points; a paired t test would say 2.23: 1.99."""
    found = standing(six(90, 87.4, 87.2, 88.3, 90 - 2.0, 60))
    assert found.best == ("A",)
    assert found.tied == ("B", "D", "E")
    assert found.behind["F"].difference == -30.0
    assert found.behind["F"].half_width == pytest.approx(2.99 * ERROR, abs=0.01)
    assert found.visible == pytest.approx(2.99 * ERROR, abs=0.01)


def test_dunnett_against_a_baseline() -> None:
    """Dunnett 1964: 2.99 for five two-sided comparisons: 2.67 points either way."""
    found = against(six(80, 82.6, 82.8, 77.4, 77.2, 80), "A")
    assert [m for m, comparison in found.items() if comparison.apart] == ["C", "E"]
    assert found["E"].difference == pytest.approx(-2.8)
    assert found["E"].half_width == pytest.approx(2.99 * ERROR, abs=0.01)
    assert "A" not in found


def test_the_joint_confidence_is_that_of_scipys_multivariate_t() -> None:
    block = six(80, 82, 83, 77, 77, 80)
    width = against(block, "A")["B"].half_width
    assert width is not None
    shape = np.full((5, 5), 0.5) + 0.5 * np.eye(5)
    c = width / ERROR
    inside = scipy.stats.multivariate_t(shape=shape, df=10).cdf(
        [c] * 5, lower_limit=[-c] * 5, random_state=np.random.default_rng(1)
    )
    assert inside == pytest.approx(0.95, abs=3e-4)


def test_two_methods_are_a_paired_t_test() -> None:
    """Differences 1, 2, 3 (s = 1): t = 3.46 < 4.30; 2, 3, 4: 5.20."""
    values = {"A": {"0": 91.0, "1": 92.0, "2": 93.0}, "B": {"0": 90.0, "1": 90.0, "2": 90.0}}
    assert standing(fit(values)).tied == ("B",)
    values["A"] = {seed: value + 1 for seed, value in values["A"].items()}
    assert standing(fit(values)).tied == ()


def test_the_best_and_a_baseline_never_contradict_each_other() -> None:
    """A method may be the best exactly where Dunnett's comparisons with it find none above it."""
    draws = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        spread = draws.choice([0.3, 0.3, 0.3, 4.0], size=5)
        table = 80 + draws.normal(0, 1, (5, 1)) + spread[:, None] * draws.normal(0, 1, (5, 4))
        left = draws.random((5, 4)) > 0.1
        left[:, :2] = True
        block = fit(
            {m: {str(j): float(x) for j, x in enumerate(table[i]) if left[i, j]} for i, m in enumerate("ABCDE")}
        )
        found = standing(block)
        for method in "ABCDE":
            above = [c for c in against(block, method).values() if c.apart and c.difference > 0]
            assert (method in (*found.best, *found.tied)) == (not above)
            seen.add((method in found.best, bool(above)))
    assert seen == {(True, False), (False, False), (False, True)}


def test_equal_means_are_both_best() -> None:
    found = standing(six(90, 90, 80, 80, 80, 80))
    assert found.best == ("A", "B")
    assert found.tied == ()


def test_one_seed_tells_nothing_apart() -> None:
    block = fit({"A": {"0": 90.0}, "B": {"0": 10.0}, "C": {"0": 5.0}})
    assert standing(block).tied == ("B", "C")
    assert standing(block).visible is None
    assert not any(c.apart for c in against(block, "C").values())


def test_a_wide_method_is_compared_with_bonferronis_level() -> None:
    """Four methods, D with ten times the spread: Welch's error, t at 1 - 0.05 / 6, on 2.04 degrees of freedom."""
    values = {name: {"0": mean, "1": mean + 1, "2": mean + 2} for name, mean in (("A", 90.0), ("B", 89.0), ("C", 60.0))}
    values["B"]["2"] -= 0.5
    values["D"] = {"0": 60.0, "1": 70.0, "2": 80.0}
    found = standing(fit(values))
    theirs = scipy.stats.ttest_ind([90, 91, 92], [60, 70, 80], equal_var=False)
    error = 21 / theirs.statistic
    pair = found.behind["D"]
    assert pair.own
    assert pair.half_width == pytest.approx(scipy.stats.t.ppf(1 - 0.05 / 6, theirs.df) * error)
    assert found.tied == ("D",)  # 21 points, and 44 would be needed


def test_a_baseline_that_lacks_seeds_is_compared_by_least_squares() -> None:
    """The smallest correlation is taken, so that the interval is not shorter than the exact one."""
    block = fit(
        {
            "A": {"0": 80.0, "1": 82.0},
            "B": {"0": 70.0, "1": 71.5, "2": 73.0, "3": 71.0},
            "C": {"0": 75.0, "1": 76.0, "2": 79.0, "3": 76.5},
        }
    )
    found = against(block, "A")
    difference = block.difference("B", "A")
    width = found["B"].half_width
    assert width is not None
    assert found["B"].difference == difference.mean
    assert width > (difference.half_width() or 0)
    assert width < (difference.half_width(1 - 0.05 / 2) or 0)
