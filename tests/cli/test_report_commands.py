"""``report`` with several folders, ``--only``, ``--watch`` and ``--check`` as a user types them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from test_commands import nb as nb  # the fixture

sys.path.append(str(Path(__file__).parents[1] / "report"))
from studies import store, study


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return study(tmp_path / "finished", lambda m, r, s: 80.0 + s)[0]


def test_several_folders_need_a_place_and_make_one_report(tmp_path, finished, nb) -> None:
    second, _, _ = study(tmp_path / "second", lambda m, r, s: 70.0 + s, methods=("GCE",))
    code, _, err = nb("report", str(finished), str(second))
    assert code == 2
    assert "--out DIR" in err
    code, out, _ = nb("report", str(finished), str(second), "--out", str(tmp_path / "out"), "--format", "md")
    assert code == 0
    assert "GCE" in out
    assert {"SGD", "SAM", "GCE"} <= set((tmp_path / "out/report.md").read_text().split())


def test_only_and_verified_only(tmp_path, finished, nb) -> None:
    wanted = ("--only", "method=SAM", "--only", "noise.rate=0.4", "--compare", "sam_family")
    code, out, _ = nb("report", str(finished), *wanted, "--out", str(tmp_path / "o"), "--format", "md")
    assert code == 0
    assert "SGD" not in out
    assert "3 of 12 runs" in out
    assert "unverified" in (tmp_path / "o/report.md").read_text()
    nb("report", str(finished), *wanted, "--verified-only", "--out", str(tmp_path / "o"), "--format", "md")
    assert "unverified" not in (tmp_path / "o/report.md").read_text()
    code, _, err = nb("report", str(finished), "--only", "methd=SAM")
    assert (code, err.count("\n")) == (2, 1)


def test_check_exits_1_and_names_what_left_its_window(tmp_path, finished, nb) -> None:
    expect = tmp_path / "expect.yaml"
    expect.write_text("expect:\n  - {method: SGD, noise: symmetric, low: 80, high: 82}\n")
    code, out, _ = nb("report", str(finished), "--check", str(expect), "--format", "md")
    assert code == 0
    assert "2 cells, none outside their windows." in out
    expect.write_text("expect:\n  - {method: SGD, noise: symmetric 0.4, low: 85}\n")
    code, out, _ = nb("report", str(finished), "--check", str(expect), "--format", "md")
    assert code == 1
    assert "FAILS: SGD at symmetric 40 %" in out
    (finished / "report.md").unlink()
    for wrong in ("expect: 3\n", "expect:\n  - {method: SGD, noise: symetric, low: 85}\n"):
        expect.write_text(wrong)
        code, out, err = nb("report", str(finished), "--check", str(expect), "--format", "md")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert not (finished / "report.md").exists()


def test_watch_writes_again_when_a_run_ends_and_stops_when_all_have(tmp_path, nb) -> None:
    source, whole, records = study(tmp_path / "source", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    folder = store(tmp_path / "growing", whole, records[:1])

    def grow() -> None:
        for item in records[1:]:
            seen = (folder / "report.md").read_text() if (folder / "report.md").exists() else ""
            for _ in range(2000):
                if (folder / "report.md").exists() and (folder / "report.md").read_text() != seen:
                    break
                threading.Event().wait(0.02)
            store(folder, whole, [item])

    writer = threading.Thread(target=grow)
    writer.start()
    code, out, _ = nb("report", str(folder), "--watch", "--every", "0.05", "--format", "md")
    writer.join()
    assert code == 0
    assert "1 of 3 runs have a result" in out
    assert "81.00" in out
    assert (folder / "report.md").read_text().count("3 finished") == 1
    assert source != folder


def test_watch_ends_at_ctrl_c_with_what_there_is(tmp_path, nb, monkeypatch) -> None:
    _, whole, records = study(tmp_path / "source", lambda m, r, s: 80.0 + s, methods=("SGD",), rates=(0.4,))
    folder = store(tmp_path / "half", whole, records[:1])

    def interrupt(seconds: float) -> None:
        assert seconds == 5.0
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    code, out, err = nb("report", str(folder), "--watch", "--format", "md")
    assert (code, err) == (0, "")
    assert "No longer watching" in out
    assert "1 finished" in out


def test_compare_prints_writes_and_exits_0(tmp_path, finished, nb) -> None:
    newer, _, _ = study(tmp_path / "newer", lambda m, r, s: 85.0 + s * s / 2)
    code, out, _ = nb("compare", str(finished), str(newer), "--only", "method=SAM", "--out", str(tmp_path / "c.json"))
    assert code == 0
    assert "2 cells in both" in out
    assert "SGD" not in out
    assert (tmp_path / "c.json").exists()
    code, _, err = nb("compare", str(finished), str(newer), "--out", str(tmp_path / "c.xlsx"))
    assert (code, err.count("\n")) == (2, 1)
    assert ".md, .csv, .json" in err
    code, _, err = nb("compare", str(finished), str(tmp_path / "nowhere"))
    assert (code, err.count("\n")) == (2, 1)


def test_leaderboard_writes_one_page_over_all_reports(tmp_path, finished, nb) -> None:
    nb("report", str(finished), "--out", str(tmp_path / "all/one"), "--format", "json,tex")
    assert (tmp_path / "all/one/report.bib").exists()
    code, out, _ = nb("leaderboard", str(tmp_path / "all"))
    assert code == 0
    assert "1 reports" not in out
    assert 'href="one/report.json"' in (tmp_path / "all/index.html").read_text()
    code, _, err = nb("leaderboard", str(tmp_path / "all"), "--out", str(tmp_path / "x.pdf"))
    assert (code, err.count("\n")) == (2, 1)
