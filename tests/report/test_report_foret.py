"""Table 4 of Foret et al. 2021, typed from the paper, comes out of a store whose records have these values."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from studies import cell, plan, record, store

from noisybench.report import Report, report

RATES = (0.2, 0.4, 0.6, 0.8)
TABLE: dict[str, tuple[str | None, ...]] = {
    "Sanchez et al.": ("94.0", "92.8", "90.3", "74.1"),
    "Zhang & Sabuncu": ("89.7", "87.6", "82.7", "67.9"),
    "Lee et al.": ("87.1", "81.8", "75.4", None),
    "Chen et al.": ("89.7", None, None, "52.3"),
    "Huang et al.": ("92.6", "90.3", "43.4", None),
    "MentorNet": ("92.0", "91.2", "74.2", "60.0"),
    "Mixup": ("94.0", "91.5", "86.8", "76.9"),
    "MentorMix": ("95.6", "94.2", "91.3", "81.0"),
    "SGD": ("84.8", "68.8", "48.2", "26.2"),
    "Mixup (own)": ("93.0", "90.0", "83.8", "70.2"),
    "Bootstrap + Mixup": ("93.3", "92.0", "87.6", "72.0"),
    "SAM": ("95.1", "93.4", "90.5", "77.9"),
    "Bootstrap + SAM": ("95.4", "94.2", "91.8", "79.9"),
}
NAMES = {
    "Sanchez et al.": "Arazo et al. (printed as Sanchez et al.)",
    "Mixup": "Mixup (literature)",
    "Mixup (own)": "Mixup",
}


@pytest.fixture
def made(tmp_path: Path) -> Report:
    """Three seeds of every place of the table, each exactly its value."""
    cells = [
        cell(method, rate, published=NAMES.get(method, method))
        for method, row in TABLE.items()
        for rate, value in zip(RATES, row, strict=True)
        if value is not None
    ]
    records = []
    for c in cells:
        value = TABLE[c["method"]][RATES.index(c["settings"]["noise"]["rate"])]
        assert value is not None
        records += [record(c, s, float(value)) for s in (0, 1, 2)]
    whole = plan(cells, report={"accuracy": "last", "compare": ["foret2021_table4"]})
    return report(store(tmp_path / "s", whole, records))


def rows(text: str) -> dict[str, list[str]]:
    """First table of a Markdown text: method -> its cells, without emphasis."""
    lines = re.findall(r"(?:^\|.*\n)+", text, re.M)[0].replace("*", "").splitlines()
    parts = [[part.strip() for part in line.split("|")[1:-1]] for line in lines]
    return {row[0].replace("&amp;", "&"): row[1:] for row in parts[2:]}


def test_the_main_table_is_the_published_one(made: Report) -> None:
    found = rows(made.to_markdown())
    assert list(found) == list(TABLE)
    for method, values in TABLE.items():
        assert found[method] == ["–" if value is None else f"{value}0 ± 0.00" for value in values]


def test_every_published_score_stands_beside_its_own_as_printed(made: Report) -> None:
    text = made.to_markdown().split("### Beside foret2021_table4")[1]
    found = rows(text)
    assert list(found) == list(TABLE)
    for method, values in TABLE.items():
        shown = [re.sub(r" \[.*\]$", "", text) for text in found[method]]
        assert shown == ["–" if value is None else f"{value} (0.0)" for value in values]
    assert "without a partner here" not in text


def test_the_best_of_each_column_is_the_papers(made: Report) -> None:
    """MentorMix at 20 and 80 %, MentorMix and Bootstrap + SAM at 40 %, Bootstrap + SAM at 60 %."""
    cells = json.loads(made.to_json())["cells"]
    best = [[c["method"] for c in cells if c["best"] and c["rate"] == rate] for rate in RATES]
    assert best == [["MentorMix"], ["MentorMix", "Bootstrap + SAM"], ["Bootstrap + SAM"], ["MentorMix"]]
    assert not any(c["tied"] for c in cells)
