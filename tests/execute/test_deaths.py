"""When a run is given up because whoever trains it dies."""

from __future__ import annotations

from noisybench.execute.deaths import DEATHS, Deaths


def ends(epochs, **how):
    deaths = Deaths()
    return [deaths.count("run", epoch, **how) for epoch in epochs]


def test_three_deaths_without_a_newer_checkpoint_end_a_run():
    assert DEATHS == 3
    assert ends([0, 0, 0]) == [None, None, "3 times without a newer checkpoint in between"]
    assert ends([7, 7, 7]) == [None, None, "3 times without a newer checkpoint in between"]


def test_a_run_that_gets_on_is_never_given_up():
    assert ends(range(1, 50)) == [None] * 49
    assert ends([0, 0, 1, 1, 2, 2, 3]) == [None] * 7
    assert ends([5, 2, 1])[-1] is not None, "an older checkpoint than before is no way on"


def test_deaths_for_lack_of_memory_count_however_far_the_run_got():
    assert ends([1, 2, 3], memory=True) == [None, None, "3 times"]


def test_runs_are_counted_each_by_itself():
    deaths = Deaths()
    assert [deaths.count(run, 0) for run in ("a", "b", "a", "b")] == [None] * 4
    assert deaths.counted == {"a": 2, "b": 2}
