"""Several results folders as one report: what joins, what stands beside, what is left out and why."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from studies import cell, plan, record, store, study

from noisybench.errors import InputError
from noisybench.report import report
from noisybench.report.document import Report


def other(folder: Path, cells: list[dict[str, Any]], value: float = 70.0, **more: Any) -> Path:
    """A finished study of the suite ``mine``."""
    records = [record(c, int(s), value + int(s)) for c in cells for s in c["runs"]]
    return store(folder, plan(cells, **{"suite": "mine", **more}), records)


def rows(made: Report) -> dict[tuple[str, str], float | None]:
    return {
        (row, c.label): e.summary.mean if e.summary else None
        for grid in made.grids
        for c in grid.columns
        for row, e in grid.column(c).items()
    }


def test_methods_of_two_suites_stand_in_one_table_and_are_ranked_together(tmp_path: Path) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    made = report(first, other(tmp_path / "b", [cell("GCE", 0.4, settings={"method__loss": {"name": "gce"}})]))
    assert rows(made) == {("SGD", "symmetric 0.4"): 81.0, ("GCE", "symmetric 0.4"): 71.0}
    (grid,) = made.grids
    assert grid.standings["symmetric 0.4"].best == ("SGD",)
    assert made.title.startswith("example (version 1) and mine (version 1): ")
    assert made.study.notes == ()
    assert json.loads(made.to_json())["suite"] == "example + mine"


def test_more_seeds_of_the_same_cell_join_it(tmp_path: Path) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0, methods=("SGD",), rates=(0.4,))
    made = report(first, other(tmp_path / "b", [cell("SGD", 0.4, seeds=(3, 4, 5))], value=83.0))
    (entry,) = made.grids[0].entries.values()
    assert entry.summary is not None
    assert (entry.summary.n, entry.summary.mean) == (6, (3 * 80.0 + 86.0 + 87.0 + 88.0) / 6)


def test_a_run_that_both_have_counts_once_and_another_result_of_it_is_named(tmp_path: Path) -> None:
    first, whole, records = study(tmp_path / "a", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    same = store(tmp_path / "b", whole, records)
    made = report(first, same)
    assert made.study.counts["planned"] == 3
    assert made.study.notes == ()
    changed = store(tmp_path / "c", whole, [record(whole["cells"][0], 1, 99.0)])
    made = report(first, changed)
    assert rows(made) == {("SGD", "symmetric 0.4"): 81.0}
    (note,) = made.study.notes
    assert "other results of runs that an earlier part has" in note
    assert "sgd-0.4-s1" in note
    assert note in made.to_markdown()


def test_a_finished_run_replaces_one_that_is_missing(tmp_path: Path) -> None:
    first, whole, records = study(tmp_path / "a", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    half = store(tmp_path / "b", whole, records[:1])
    assert report(half, first).study.counts["finished"] == 3


def test_other_settings_under_the_same_name_stand_beside_it(tmp_path: Path) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0, methods=("SGD",), rates=(0.4,))
    mine = cell("SGD", 0.4, settings={"training__optimizer__lr": 0.3})
    mine["runs"] = {seed: f"mine-{run_id}" for seed, run_id in mine["runs"].items()}
    made = report(first, other(tmp_path / "b", [mine]), compare=["foret2021_table4"])
    assert rows(made) == {("SGD", "symmetric 0.4"): 80.0, ("SGD (mine)", "symmetric 0.4"): 71.0}
    assert "shown as 'NAME (mine)': SGD" in made.study.notes[0]
    assert set(made.comparisons[0][0].partners) == {("SGD", "symmetric 0.4"), ("SGD (mine)", "symmetric 0.4")}


def test_the_same_label_of_other_noise_is_a_column_of_its_own(tmp_path: Path) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0, methods=("SGD",), rates=(0.4,))
    made = report(first, other(tmp_path / "b", [cell("GCE", 0.4, settings={"noise__flip": "inclusive"})]))
    assert [c.label for c in made.grids[0].columns] == ["symmetric 0.4", "symmetric 0.4 (mine)"]


@pytest.mark.parametrize(
    ("changes", "more", "why"),
    [
        ({"settings": {"training__epochs": 3}}, {}, "1 of 1 cells left out, training.epochs 3, where the others have"),
        ({}, {"recipe": "authors"}, "mine is left out: its recipe is authors, that of example is common"),
        ({}, {"smoke": True}, "one of the two is a smoke run"),
        ({}, {"synthetic": True}, "synthetic data"),
    ],
)
def test_what_must_not_be_compared_is_left_out_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0, methods=("SGD",), rates=(0.4,))
    made = report(first, other(tmp_path / "b", [cell("GCE", 0.4, **changes)], **more))
    assert list(rows(made)) == [("SGD", "symmetric 0.4")]
    (note,) = made.study.notes
    assert why in note
    for text in (made.to_markdown(), " ".join(made.to_text().split())):
        assert why.split(" (")[0] in text


@pytest.mark.parametrize(
    ("path", "why"), [("data__fingerprint", "other data"), ("noise__sha256", "other noisy labels")]
)
def test_other_data_and_other_labels_are_left_out(tmp_path: Path, path: str, why: str) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0, methods=("SGD",), rates=(0.4,))
    gce = cell("GCE", 0.4)
    folder = store(
        tmp_path / "b", plan([gce], suite="mine"), [record(gce, s, 70.0, **{path: "0" * 64}) for s in (0, 1)]
    )
    made = report(first, folder)
    assert list(rows(made)) == [("SGD", "symmetric 0.4")]
    assert why in made.study.notes[0]


def under_the_title(made: Report) -> str:
    """The one line that stands there, the same in every form."""
    (line,) = made.study.absent
    text = " ".join(made.to_text(10_000).split("\n\n")[0].split("\n"))
    assert text == f"{made.title} {line}"
    assert made.to_markdown().split("\n\n")[1] == f"**{line}**"
    page = html.unescape(made.to_html())
    assert page.index("</h1>") < page.index(line) < page.index("<nav")
    for form in (made.to_text(10_000), made.to_markdown(), page):
        assert form.count(line) == 1
    assert line in json.loads(made.to_json())["warnings"]
    return line


def test_a_folder_that_is_left_out_altogether_is_named_under_the_title(tmp_path: Path) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    gce = cell("GCE", 0.4)
    records = [record(gce, s, 70.0 + s, data__fingerprint="0" * 64) for s in (0, 1)]
    made = report(first, store(tmp_path / "b", plan([gce], suite="mine"), records))
    assert under_the_title(made) == (
        "No result of mine is in these tables: 1 of 1 cells left out, made from other data of the name cifar10."
    )
    assert made.title.startswith("example (version 1): ")
    made = report(first, other(tmp_path / "c", [gce], smoke=True))
    assert under_the_title(made) == "mine is left out: one of the two is a smoke run."


def test_a_folder_without_a_record_of_its_own_in_the_tables_is_named_under_the_title(tmp_path: Path) -> None:
    first, whole, records = study(tmp_path / "a", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    empty = store(tmp_path / "b", plan([cell("GCE", 0.4)], suite="mine"), [])
    assert under_the_title(report(first, empty)) == (
        "No result of mine is in these tables: none of its runs has a record that can be used (3 missing)."
    )
    again = store(tmp_path / "c", {**whole, "suite": "mine"}, records)
    assert under_the_title(report(first, again)).endswith("an earlier folder has the same runs.")
    gce = other(tmp_path / "d", [cell("GCE", 0.4)])
    assert report(first, gce).study.absent == ()
    assert under_the_title(report(first, gce, only=["method=SGD"])).endswith("none meets method=SGD.")


def test_under_the_authors_recipes_schedules_may_differ(tmp_path: Path) -> None:
    sgd, gce = cell("SGD", 0.4), cell("GCE", 0.4, settings={"training__epochs": 3})
    first = other(tmp_path / "a", [sgd], suite="one", recipe="authors")
    assert len(rows(report(first, other(tmp_path / "b", [gce], recipe="authors")))) == 2


def test_suites_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    first, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0, methods=("SGD",), rates=(0.4,))
    second, _, _ = study(tmp_path / "b", lambda m, r, s: 80.0, methods=("SAM",), rates=(0.4,))
    assert report(first, second).study.parts == (f"example in {first} (version 1)", f"example in {second} (version 1)")


def test_only_narrows_cells_and_seeds_and_says_so(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s)
    made = report(folder, only=["method=SAM", "noise.rate=0.4", "seed=0|2"])
    assert rows(made) == {("SAM", "symmetric 0.4"): 81.0}
    assert made.study.counts["planned"] == 2
    assert made.study.notes == ("Only method=SAM, noise.rate=0.4, seed=0|2: 2 of 12 runs.",)
    with pytest.raises(InputError, match="no method 'SAMM'; did you mean 'SAM'"):
        report(folder, only=["method=SAMM"])


def test_unverified_scores_can_be_left_out(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0, rates=(0.4,))
    shown = report(folder, compare=["sam_family"]).to_markdown()
    hidden = report(folder, compare=["sam_family"], verified_only=True).to_markdown()
    assert "unverified" in shown
    assert "unverified" not in hidden
    assert "90.6" not in hidden
