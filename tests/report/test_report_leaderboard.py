"""The page over all reports under a folder: order, links, what is left out, and harmless names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from studies import cell, plan, record, store, study

from noisybench.errors import InputError
from noisybench.report import leaderboard, report


def written(tmp_path: Path) -> Path:
    """Two reports in two folders, one of them a level deeper, with one data set and noise in common."""
    one, _, _ = study(tmp_path / "a", lambda m, r, s: 80.0 + s + (m == "SAM"), rates=(0.2, 0.1))
    mine = cell("=GCE <b>|x", 0.2)
    mine["runs"] = {seed: f"mine-{seed}" for seed in mine["runs"]}
    two = store(tmp_path / "b", plan([mine], suite="mi[n]e"), [record(mine, s, 81.5) for s in (0, 1)])
    report(one).write(tmp_path / "reports/first", ["md", "json"])
    report(two).write(tmp_path / "reports/deep (1)/second", ["json"])
    return tmp_path / "reports"


def test_methods_of_all_reports_are_ordered_by_data_set_and_noise(tmp_path: Path) -> None:
    folder = written(tmp_path)
    board = leaderboard.gather(folder, folder / "index.html")
    assert list(board.tables) == [("cifar10", "symmetric 0.1", "last"), ("cifar10", "symmetric 0.2", "last")]
    lines = board.tables["cifar10", "symmetric 0.2", "last"]
    assert [(x.method, x.mean, x.n, x.suite) for x in lines] == [
        ("SAM", 82.0, 3, "example"),
        ("=GCE <b>|x", 81.5, 2, "mi[n]e"),
        ("SGD", 81.0, 3, "example"),
    ]
    assert lines[1].notes == ("2 of 3 runs so far",)
    assert lines[0].link == "first/report.md"
    for x in lines:
        assert (folder / unquote(x.link)).exists()


class Links(HTMLParser):
    """Tags in order, and where they lead."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_has_working_links_and_no_foreign_markup(tmp_path: Path) -> None:
    folder = written(tmp_path)
    text = leaderboard.html_text(leaderboard.gather(folder, folder / "index.html"))
    page = Links()
    page.feed(text)
    assert "b" not in page.tags
    assert "script" not in page.tags
    assert page.tags.count("table") == 2
    for target in page.targets:
        assert f'id="{target[1:]}"' in text if target.startswith("#") else (folder / unquote(target)).exists()


def test_markdown_escapes_names_and_links(tmp_path: Path) -> None:
    folder = written(tmp_path)
    text = leaderboard.markdown_text(leaderboard.gather(folder, folder / "index.md"))
    assert r"=GCE &lt;b&gt;\|x" in text
    assert r"[mi\[n\]e](deep%20%281%29/second/report.json)" in text


def test_equal_means_share_a_place(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0, methods=("A", "B"), rates=(0.2,))
    report(folder).write(folder)
    text = leaderboard.markdown_text(leaderboard.gather(folder, folder / "index.md"))
    assert re.findall(r"^\|\s*(\d) +\|", text, re.M) == ["1", "1"]


def test_smoke_runs_and_damaged_files_are_left_out_aloud(tmp_path: Path) -> None:
    folder = written(tmp_path)
    sgd = cell("SGD", 0.2)
    report(store(tmp_path / "c", plan([sgd], smoke=True), [record(sgd, 0, 99.0)])).write(folder / "smoke")
    (folder / "broken").mkdir()
    (folder / "broken/report.json").write_text("{")
    board = leaderboard.gather(folder, folder / "index.html")
    assert board.skipped == (("broken/report.json", "not readable as JSON"), ("smoke/report.json", "a smoke run"))
    assert all(x.mean < 99 for lines in board.tables.values() for x in lines)
    for text in (leaderboard.html_text(board), leaderboard.markdown_text(board)):
        assert "broken/report.json: not readable" in text


def test_cells_that_are_passed_over_are_told_with_the_reason(tmp_path: Path) -> None:
    cells = [cell("SGD", 0.2), cell("SAM", 0.2), cell("GCE", 0.2)]
    cells += [cell("Mixup", 0.2, variant=f"Mixup[alpha={a}]", choose="best") for a in (1, 8)]
    records = [record(cells[0], 0, 80.0), record(cells[1], 0, "nan", status="diverged")]
    records += [record(cells[3], 0, 70.0), record(cells[4], 0, 71.0)]
    report(store(tmp_path / "s", plan(cells), records)).write(tmp_path / "all/one", ["json"])
    board = leaderboard.gather(tmp_path / "all", tmp_path / "all/index.html")
    assert [(x.method, x.mean) for lines in board.tables.values() for x in lines] == [("SGD", 80.0), ("Mixup", 71.0)]
    assert board.left_out == [
        "one/report.json: 1 cell of a variant that was not chosen: Mixup[alpha=1]",
        "one/report.json: 1 cell with a run that diverged: SAM at symmetric 0.2",
        "one/report.json: 1 cell without a result: GCE at symmetric 0.2",
    ]
    for text in (leaderboard.html_text(board), leaderboard.markdown_text(board)):
        assert "SAM at symmetric 0.2" in text


def test_the_best_of_a_report_is_marked_as_it_is_there(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s + 9 * (m == "SAM"), rates=(0.2,))
    report(folder).write(folder)
    (lines,) = leaderboard.gather(folder, folder / "index.html").tables.values()
    assert [(x.method, x.mark) for x in lines] == [("SAM", "★"), ("SGD", "")]


def test_a_folder_without_a_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no report\.json in it; write one"):
        leaderboard.gather(tmp_path, tmp_path / "index.html")
    with pytest.raises(InputError, match="no such folder"):
        leaderboard.gather(tmp_path / "nowhere", tmp_path / "index.html")
