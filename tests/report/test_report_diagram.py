"""The critical-difference diagram: from ten data sets on, with every name, rank and bar at its place."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from studies import cell, plan, record, store
from test_report_ranks import TABLE

from noisybench.report import report
from noisybench.report.document import Report
from noisybench.report.figures import across
from noisybench.report.figures.ranks import MOST_METHODS, bars, diagram
from noisybench.report.ranks import Ranking, friedman


def study(folder: Path, sets: int, methods: tuple[str, ...] = ("A", "B", "C", "<D> & $x$")) -> Report:
    """Each method ten points below the one before it, on every data set."""
    cells = [cell(m, 0.4, dataset=f"set {d}", seeds=(0, 1)) for d in range(sets) for m in methods]
    for i, planned in enumerate(cells):
        planned["runs"] = {seed: f"run-{i}-{seed}" for seed in planned["runs"]}
    records = [
        record(c, s, 90.0 - 10 * methods.index(c["method"]) + s, data__fingerprint=c["dataset"])
        for c in cells
        for s in (0, 1)
    ]
    return report(store(folder, plan(cells), records))


def lines(ranking: Ranking) -> tuple[list[Any], list[str]]:
    """The lines and words that were drawn."""
    from matplotlib.figure import Figure

    picture = diagram(ranking)
    figure = Figure(figsize=picture.size, layout="constrained")
    picture.paint(figure)
    axes = figure.axes[0]
    return list(axes.lines), [text.get_text() for text in axes.texts]


def test_below_ten_data_sets_there_is_none(tmp_path: Path) -> None:
    assert across(study(tmp_path / "nine", 9)) == ()
    (picture,) = across(study(tmp_path / "ten", 10))
    assert picture.name == "ranks"
    assert "Mean rank over 10 data sets" in picture.text
    assert "1.48" in picture.text  # 2.569 sqrt(4 * 5 / (6 * 10)), Demsar 2006


def test_it_is_in_every_form_that_has_pictures(tmp_path: Path) -> None:
    made = study(tmp_path / "runs", 10)
    assert "ranks.svg" in made.figures()
    page = made.to_html()
    assert 'id="figure-ranks"' in page
    assert page.index('id="overall"') < page.index('id="figure-ranks"') < page.index('id="how"')
    words = " ".join(ElementTree.fromstring(made.figures()["ranks.svg"]).itertext())
    assert "<D> & $x$" in words
    assert "Mean ranks and critical difference" in words


def test_names_hang_on_their_ranks_and_bars_join_what_is_not_told_apart() -> None:
    """Ranks 1 to 4 and a critical difference of 1.48: each joins its neighbour, three bars."""
    ranking = friedman({method: [90.0 - 10 * i] * 10 for i, method in enumerate("ABCD")})
    assert ranking is not None
    assert bars(ranking, ranking.ranks) == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    drawn, texts = lines(ranking)
    assert texts[:5] == ["1", "2", "3", "4", "critical difference 1.48"]
    assert texts[5:] == ["A  1.00", "B  2.00", "3.00  C", "4.00  D"]
    scale = drawn[0].get_xdata()  # the line from rank 1 to rank 4
    unit = (scale[1] - scale[0]) / 3
    thick = [line.get_xdata() for line in drawn if line.get_linewidth() == 3.0]
    assert [round((x[0] + 0.03 - scale[0]) / unit, 6) for x in thick] == [0, 1, 2]
    assert [round((x[1] - 0.03 - scale[0]) / unit, 6) for x in thick] == [1, 2, 3]
    width = next(line.get_xdata() for line in drawn if line.get_linewidth() == 1.4)
    assert round((width[1] - width[0]) / unit, 2) == 1.48


def test_the_worked_example_of_demsar_is_one_group() -> None:
    ranking = friedman(TABLE)
    assert ranking is not None
    drawn, texts = lines(ranking)
    assert "C4.5+m+cf  1.96" in texts
    assert sum(line.get_linewidth() == 3.0 for line in drawn) == 1


def test_of_many_methods_the_best_are_drawn() -> None:
    ranking = friedman({f"M{i:02}": [90.0 - i] * 12 for i in range(MOST_METHODS + 5)})
    assert ranking is not None
    assert "5 more are in the table" in diagram(ranking).text
    _, texts = lines(ranking)
    assert f"M{MOST_METHODS - 1:02}" in " ".join(texts)
    assert f"M{MOST_METHODS:02}" not in " ".join(texts)
