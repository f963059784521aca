"""Windows: which cells they are for, what holds, and what a wrong file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import cell, plan, record, store, study

from noisybench.errors import InputError, SuiteError
from noisybench.report import report
from noisybench.report.check import Outcome, outcomes, read_windows


def check(tmp_path: Path, text: str) -> list[Outcome]:
    """SGD has 80 and SAM 90, plus seed, at rate 0 and 0.4; ``best`` is 2 more."""
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: {"SGD": 80.0, "SAM": 90.0}[m] + s)
    (tmp_path / "expect.yaml").write_text(text)
    return outcomes(report(folder), read_windows(tmp_path / "expect.yaml"))


@pytest.mark.parametrize(
    ("window", "holds"),
    [
        ("{method: SGD, noise: symmetric 0.4, low: 81, high: 81}", [True]),
        ("{method: SGD, noise: symmetric 40 %, low: 81.1}", [False]),
        ("{method: SGD, noise: symmetric, rate: 0.4, high: 80.9}", [False]),
        ("{method: SAM, noise: symmetric, low: 90, high: 92}", [True, True]),
        ("{method: SAM, noise: symmetric 0.4, rule: best, low: 92.5, high: 93.5}", [True]),
        ("{method: SAM, noise: symmetric 0.4, dataset: cifar10, model: resnet34, low: 0, high: 50}", [False]),
    ],
)
def test_a_window_holds_for_every_cell_that_it_fits(tmp_path: Path, window: str, holds: list[bool]) -> None:
    found = check(tmp_path, f"expect:\n  - {window}\n")
    assert [outcome.holds for outcome in found] == holds
    for outcome in found:
        assert str(outcome).startswith("holds" if outcome.holds else "FAILS")
        assert ("expect.yaml:2" in str(outcome)) != outcome.holds


def test_the_line_says_what_where_how_much_and_on_which_side(tmp_path: Path) -> None:
    (outcome,) = check(tmp_path, "rule: best\nexpect:\n  - {method: SGD, noise: symmetric 0.4, low: 85, high: 95}\n")
    text = str(outcome)
    assert text.startswith(
        "FAILS: SGD at symmetric 40 % (cifar10, resnet34; best epoch on the test set (an oracle)): 83.00"
    )
    assert ", below, expected 85 to 95 (" in text


def test_a_cell_without_all_its_results_does_not_hold(tmp_path: Path) -> None:
    sgd, sam = cell("SGD", 0.4), cell("SAM", 0.4)
    records = [record(sgd, 0, 80.0), record(sam, 0, 80.0), record(sam, 1, "nan", status="diverged")]
    (tmp_path / "e.yaml").write_text(
        "expect:\n  - {method: SGD, noise: symmetric, low: 0}\n  - {method: SAM, noise: symmetric, low: 0}\n"
    )
    found = outcomes(report(store(tmp_path / "s", plan([sgd, sam]), records)), read_windows(tmp_path / "e.yaml"))
    assert [outcome.holds for outcome in found] == [False, False]
    assert "n = 1 of 3" in str(found[0])
    assert "1/3 diverged" in str(found[1])


@pytest.mark.parametrize(
    ("window", "holds", "told"),
    [
        ("value: detection.small_loss.auc, low: 0.94, high: 0.96", True, "0.95, expected 0.94 to 0.96"),
        ("value: detection.small_loss.auc, low: 0.96", False, "0.95, below, expected at least 0.96"),
        ("value: noise.realised_rate, high: 0.4", True, "0.4, expected at most 0.4"),
        ("value: data.test_size, low: 9999", True, "10000, expected at least 9999"),
        ("value: details.slope, high: -1.5", False, "-1, above, expected at most -1.5"),
    ],
)
def test_other_numbers_of_the_records_have_windows_too(tmp_path: Path, window: str, holds: bool, told: str) -> None:
    sgd = cell("SGD", 0.4, seeds=(0, 1))
    records = [
        record(sgd, seed, 80.0, detection={"small_loss": {"auc": 0.94 + seed / 50}}, details={"slope": -1.0})
        for seed in (0, 1)
    ]
    (tmp_path / "e.yaml").write_text(f"rule: best\nexpect:\n  - {{method: SGD, noise: symmetric, {window}}}\n")
    made = report(store(tmp_path / "s", plan([sgd]), records))
    (outcome,) = outcomes(made, read_windows(tmp_path / "e.yaml"))
    assert outcome.holds == holds
    assert told in str(outcome)


def test_a_window_for_a_suite_is_passed_over_where_the_report_has_no_result_of_it(tmp_path: Path) -> None:
    one, two = cell("SGD", 0.4, seeds=(0,)), cell("SGD", 0.2, seeds=(0,))
    folders = {
        name: store(tmp_path / name, plan([planned], suite=name), [record(planned, 0, 80.0)])
        for name, planned in (("one", one), ("two", two))
    }
    head = "expect:\n"
    line = "  - {{suite: {}, method: SGD, noise: symmetric, low: {}}}\n"
    (tmp_path / "both.yaml").write_text(head + line.format("one", 70) + line.format("two", 90))
    windows = read_windows(tmp_path / "both.yaml")
    assert [outcome.holds for outcome in outcomes(report(folders["one"]), windows)] == [True]
    assert [outcome.holds for outcome in outcomes(report(folders["two"]), windows)] == [False]
    found = outcomes(report(*folders.values()), windows)
    assert [(outcome.holds, "symmetric 20 %" in outcome.cell) for outcome in found] == [(True, False), (False, True)]
    (tmp_path / "other.yaml").write_text(head + line.format("three", 70))
    with pytest.raises(InputError, match="all windows are for other suites than one: three"):
        outcomes(report(folders["one"]), read_windows(tmp_path / "other.yaml"))


def test_a_value_that_no_record_has_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check(tmp_path, "expect:\n  - {method: SAM, noise: symmetric, value: data.test_sizes, low: 1}\n")
    assert "yaml:2: no record of these runs has a number 'result.data.test_sizes'; did you mean" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- 1", "needs 'expect:'"),
        ("rule: last\n", "'expect' must be a list"),
        ("expect: []\n", "'expect' must be a list"),
        ("expects: []\n", "did you mean 'expect'"),
        ("expect:\n  - {methd: SGD}\n", "e.yaml:2: expect[0].methd: unknown key; did you mean 'method'"),
        ("expect:\n  - {method: SGD, low: 1}\n", "'noise' is missing"),
        ("expect:\n  - {method: SGD, noise: clean}\n", "'low' or 'high' is missing"),
        ("expect:\n  - {method: SGD, noise: clean, low: 9, high: 8}\n", "low 9 is above high 8"),
        ("expect:\n  - {method: SGD, noise: clean, low: 101}\n", "a number from 0 to 100, not 101"),
        ("expect:\n  - {method: SGD, noise: clean, low: yes}\n", "a number from 0 to 100"),
        ("expect:\n  - {method: SGD, noise: clean, low: 1, rule: first}\n", "no selection rule 'first'"),
        (
            "expect:\n  - {method: SGD, noise: clean, low: 1, rule: last, value: epochs}\n",
            "has 'rule', for accuracies, or",
        ),
        ("expect:\n  - {method: SGD, noise: clean, low: a, value: epochs}\n", "must be a number, not 'a'"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(SuiteError) as caught:
        read_windows(tmp_path / "e.yaml")
    assert says in str(caught.value)
    assert "e.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ("{method: SAMM, noise: symmetric, low: 1}", "method 'SAMM'; did you mean 'SAM'"),
        ("{method: SAM, noise: pairflip, low: 1}", "noise 'pairflip'; there are: symmetric 0 %, symmetric 40 %"),
        ("{method: SAM, noise: symetric, low: 1}", "noise 'symetric'; did you mean 'symmetric'"),
        ("{method: SAM, noise: symmetric, rate: 0.3, low: 1}", "rate 0.3"),
    ],
)
def test_a_window_that_fits_no_cell_is_an_error(tmp_path: Path, window: str, says: str) -> None:
    with pytest.raises(InputError, match="no cell of the report has") as caught:
        check(tmp_path, f"expect:\n  - {window}\n")
    assert says in str(caught.value)
