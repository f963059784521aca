"""Every table names the noise's conventions and the share of labels that is really wrong."""

from __future__ import annotations

from pathlib import Path

from studies import cell, plan, record, store

from noisybench.report import report


def text_of(folder: Path, rates: dict[float, float], **settings: str) -> str:
    """The terminal report of SGD at nominal rates with the given realised ones."""
    cells = [cell("SGD", rate) for rate in rates]
    for one in cells:
        one["settings"]["noise"].update(settings)
    records = [
        record(one, seed, 70.0, noise__realised_rate=realised)
        for one, realised in zip(cells, rates.values(), strict=True)
        for seed in (0, 1, 2)
    ]
    return " ".join(report(store(folder, plan(cells), records)).to_text().split())


def test_conventions_are_named_with_the_measured_share(tmp_path: Path) -> None:
    exclusive = text_of(tmp_path / "a", {0.2: 0.2, 0.4: 0.4}, flip="exclusive", count="exact")
    assert "wrong, as measured, column by column: symmetric (exclusive, exact): 20.0, 40.0 %." in exclusive
    inclusive = text_of(tmp_path / "b", {0.2: 0.18, 0.4: 0.36}, flip="inclusive", count="independent")
    assert "symmetric (inclusive, independent): 18.0, 36.0 %." in inclusive


def test_what_no_run_has_measured_yet_is_said(tmp_path: Path) -> None:
    folder = store(tmp_path / "s", plan([cell("SGD", 0.4)]), [])
    text = " ".join(report(folder).to_text().split())
    assert "column by column: symmetric" in text
    assert "not known yet." in text
