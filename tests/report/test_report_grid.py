"""Tables: what is chosen, what is ranked, what is called tied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store, study

from noisybench.errors import InputError
from noisybench.report.grid import Entry, Grid, make_grids
from noisybench.report.results import read_study


def grid_of(folder: Path, rule: str = "last") -> Grid:
    """The first grid of a results folder."""
    return make_grids(read_study(folder), rule)[0]


def entry_of(grid: Grid, row: str, column: int = 0) -> Entry:
    """One entry that must be there."""
    entry = grid.entry(row, grid.columns[column])
    assert entry is not None
    return entry


def marks(grid: Grid, column: int = 0) -> dict[str, str]:
    """Method -> best, tied or an empty string."""
    entries = grid.column(grid.columns[column])
    return {row: "best" if e.best else "tied" if e.tied else "" for row, e in entries.items()}


def test_rows_and_columns_keep_the_plans_order(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s, ("Z", "A", "M"), (0.4, 0.0))
    grid = grid_of(folder)
    assert grid.rows == ("Z", "A", "M")
    assert [c.short for c in grid.columns] == ["symmetric 40 %", "symmetric 0 %"]


def test_there_is_one_grid_for_each_data_set_and_model(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.4), cell("SGD", 0.2, model="mlp"), cell("SGD", 0.6)]
    grids = make_grids(read_study(store(tmp_path / "s", plan(cells), [])), "last")
    assert [(g.model, len(g.columns)) for g in grids] == [("resnet34", 2), ("mlp", 1)]


def test_noises_with_one_short_name_keep_their_labels(tmp_path: Path) -> None:
    other = cell("SGD", 0.4, noise="symmetric 0.4 inclusive", settings={"noise__flip": "inclusive"})
    other["runs"] = {}
    folder = store(tmp_path / "s", plan([cell("SGD", 0.4), cell("SGD", 0.2), other]), [])
    assert [c.short for c in grid_of(folder).columns] == ["symmetric 0.4", "symmetric 20 %", "symmetric 0.4 inclusive"]


def test_means_follow_the_rule(tmp_path: Path) -> None:
    """Seeds 80, 82, 84 under `last`; the records say one more under `last10` and two more under `best`."""
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + 2 * s)
    means = {}
    for rule in ("last", "last10", "best"):
        summary = entry_of(grid_of(folder, rule), "SGD").summary
        assert summary is not None
        means[rule] = summary.mean
    assert means == {"last": 82.0, "last10": 83.0, "best": 84.0}


def test_a_rule_without_a_value_is_an_error(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0)
    with pytest.raises(InputError, match="without a hold-out"):
        grid_of(folder, "validation")
    with pytest.raises(InputError, match="no selection rule 'first'; there are: last, last10, validation, best"):
        grid_of(folder, "first")


def test_best_and_tied(tmp_path: Path) -> None:
    """A beats C by 10 on every seed and B by 0, 1 and 2: the latter's interval includes zero."""
    values = {"A": (90.0, 91.0, 92.0), "B": (90.0, 90.0, 90.0), "C": (80.0, 81.0, 82.0)}
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: values[m][s], ("A", "B", "C"), (0.4,))
    assert marks(grid_of(folder)) == {"A": "best", "B": "tied", "C": ""}


def test_pairing_by_seed_tells_apart_what_means_alone_do_not(tmp_path: Path) -> None:
    """Seeds differ by 10 points, methods by exactly 1 on each seed."""
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 60.0 + 10 * s + (m == "A"), ("A", "B"), (0.4,))
    assert marks(grid_of(folder)) == {"A": "best", "B": ""}


def test_equal_means_share_the_first_place(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s, ("A", "B"), (0.4,))
    assert marks(grid_of(folder)) == {"A": "best", "B": "best"}


def test_nothing_is_ranked_where_a_run_is_without_a_result(tmp_path: Path) -> None:
    folder, whole, records = study(tmp_path / "s", lambda m, r, s: 90.0 - 10 * (m == "SAM"), rates=(0.2, 0.4))
    folder = store(tmp_path / "t", whole, records[:-1])
    assert marks(grid_of(folder), 0) == {"SGD": "best", "SAM": ""}
    assert marks(grid_of(folder), 1) == {"SGD": "", "SAM": ""}
    summary = entry_of(grid_of(folder), "SAM", 1).summary
    assert summary is not None
    assert summary.n == 2


def test_a_method_with_a_diverged_run_is_not_ranked_and_holds_no_one_up(tmp_path: Path) -> None:
    cells = [cell(m, 0.4) for m in ("A", "B", "C")]
    records = [record(c, s, v) for c, v in zip(cells, (95.0, 80.0, 70.0), strict=True) for s in (0, 1, 2)]
    records[0] = record(cells[0], 0, "nan", status="diverged")
    grid = grid_of(store(tmp_path / "s", plan(cells), records))
    assert marks(grid) == {"A": "", "B": "best", "C": ""}
    assert (entry_of(grid, "A").diverged, entry_of(grid, "A").ranked) == (1, False)


# -- choose -----------------------------------------------------------------------------------------------------------


def variants(folder: Path, choose: str | None, values: dict[str, tuple[Any, ...]], **more: Any) -> Path:
    """Mixup with one variant for each alpha; a value is (accuracy, hold-out accuracy) or None for a missing run."""
    cells = [cell("Mixup", 0.4, variant=f"Mixup[alpha={a}]", choose=choose, **more) for a in values]
    records = [
        record(c, seed, pair[0], holdout_accuracy=pair[1] and {"last": pair[1], "last10": 99.0 - pair[1]})
        for c, pairs in zip(cells, values.values(), strict=True)
        for seed, pair in enumerate(pairs)
        if pair is not None
    ]
    return store(folder, plan([*cells, cell("SGD", 0.4)]), records)


ALPHAS = {
    "1": ((70.0, 60.0), (71.0, 60.0), (90.0, 60.0)),  # test mean 77, hold-out 60
    "8": ((78.0, 50.0), (78.0, 51.0), (78.0, 52.0)),  # test mean 78, hold-out 51
    "32": ((60.0, 55.0), (60.0, 55.0), (60.0, 55.0)),
}


def test_choose_best_takes_the_highest_mean_test_accuracy(tmp_path: Path) -> None:
    grid = grid_of(variants(tmp_path / "s", "best", ALPHAS))
    assert grid.rows == ("Mixup", "SGD")
    entry = entry_of(grid, "Mixup")
    assert entry.cell.variant == "Mixup[alpha=8]"
    assert len(entry.variants) == 3


def test_choose_validation_takes_the_highest_mean_hold_out_accuracy(tmp_path: Path) -> None:
    entry = entry_of(grid_of(variants(tmp_path / "s", "validation", ALPHAS)), "Mixup")
    assert entry.cell.variant == "Mixup[alpha=1]"
    assert entry.summary is not None
    assert entry.summary.mean == 77.0


def test_choose_validation_looks_at_the_hold_out_under_the_tables_rule(tmp_path: Path) -> None:
    """Under ``last10`` the fixture's hold-out ranks the variants the other way round: alpha=8 has 99 - 51."""
    folder = variants(tmp_path / "s", "validation", ALPHAS)
    assert entry_of(grid_of(folder, "last10"), "Mixup").cell.variant == "Mixup[alpha=8]"


def test_choose_validation_without_a_hold_out_is_an_error(tmp_path: Path) -> None:
    folder = variants(tmp_path / "s", "validation", {"1": ((70.0, None),), "8": ((71.0, None),)})
    with pytest.raises(InputError, match="choose: validation needs a hold-out"):
        grid_of(folder)


def test_without_choose_every_variant_is_a_row(tmp_path: Path) -> None:
    assert grid_of(variants(tmp_path / "s", None, ALPHAS)).rows == (
        "Mixup[alpha=1]",
        "Mixup[alpha=8]",
        "Mixup[alpha=32]",
        "SGD",
    )


def test_a_variant_with_a_diverged_run_is_chosen_only_when_all_have_one(tmp_path: Path) -> None:
    cells = [cell("Mixup", 0.4, variant=f"Mixup[alpha={a}]", choose="best") for a in (1, 8)]
    records = [record(c, s, v) for c, v in zip(cells, (90.0, 50.0), strict=True) for s in (0, 1, 2)]
    records[0] = record(cells[0], 0, "nan", status="diverged")
    folder = store(tmp_path / "s", plan(cells), records)
    assert entry_of(grid_of(folder), "Mixup").cell.variant == "Mixup[alpha=8]"
    records[3] = record(cells[1], 0, "nan", status="diverged")
    folder = store(tmp_path / "s", plan(cells), records)
    assert entry_of(grid_of(folder), "Mixup").cell.variant == "Mixup[alpha=1]"


def test_a_variant_without_any_result_is_not_chosen(tmp_path: Path) -> None:
    entry = entry_of(grid_of(variants(tmp_path / "s", "best", {"1": (), "8": ((5.0, None),), "32": ()})), "Mixup")
    assert entry.cell.variant == "Mixup[alpha=8]"
    assert not entry.settled
