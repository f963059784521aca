"""Two folders cell by cell: the right test for each cell, Holm over all, and what else differs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from studies import cell, plan, record, store, study

from noisybench.report import contrast
from noisybench.report.compare import Contrast, p_value
from noisybench.report.compare import contrast as compare
from noisybench.report.results import read_study
from noisybench.report.statistics import Difference

OLD = {0: 80.0, 1: 81.0, 2: 82.0}
NEW = {0: 81.5, 1: 82.0, 2: 84.0}


def both(
    tmp_path: Path, first: list[Any], second: list[Any], cells: tuple[list[Any], list[Any]], **more: Any
) -> Contrast:
    folders = [
        store(tmp_path / name, plan(c, **more), r) for name, c, r in zip("ab", cells, (first, second), strict=True)
    ]
    one, two = map(read_study, folders)
    return compare(one, two, ("old", "new"))


def one_cell(tmp_path: Path, new: dict[int, float], **changes: Any) -> Contrast:
    sgd, same = cell("SGD", 0.4), cell("SGD", 0.4)
    first = [record(sgd, s, v) for s, v in OLD.items()]
    return both(tmp_path, first, [record(same, s, v, **changes) for s, v in new.items()], ([sgd], [same]))


def test_seeds_with_the_same_labels_are_paired(tmp_path: Path) -> None:
    (pair,) = one_cell(tmp_path, NEW).pairs
    want = scipy.stats.ttest_rel(list(NEW.values()), list(OLD.values()))
    assert pair.how == "paired"
    assert pair.difference is not None
    assert pair.difference.mean == pytest.approx(1.5)
    assert pair.p == pytest.approx(want.pvalue)
    assert pair.half_width == pytest.approx(want.confidence_interval().high - 1.5)


def test_other_labels_make_two_samples(tmp_path: Path) -> None:
    (pair,) = one_cell(tmp_path, NEW, noise__sha256="other").pairs
    want = scipy.stats.ttest_ind(list(NEW.values()), list(OLD.values()), equal_var=False)
    assert pair.how == "Welch"
    assert pair.p == pytest.approx(want.pvalue)
    assert pair.half_width == pytest.approx(want.confidence_interval().high - 1.5)


def test_seeds_that_only_one_has_are_no_pairs_unless_the_other_has_no_more(tmp_path: Path) -> None:
    (pair,) = one_cell(tmp_path, {0: 81.5, 1: 82.0}).pairs
    assert (pair.how, pair.difference and pair.difference.mean) == ("paired", pytest.approx(1.25))
    sgd, more = cell("SGD", 0.4), cell("SGD", 0.4, seeds=(2, 3, 4))
    first = [record(sgd, s, v) for s, v in OLD.items()]
    (pair,) = both(tmp_path / "x", first, [record(more, s, 84.0 + s) for s in (2, 3, 4)], ([sgd], [more])).pairs
    assert pair.how == "Welch"


def test_holm_over_all_cells(tmp_path: Path) -> None:
    def values(method: str, rate: float, seed: int) -> float:
        return {0.0: 1.0, 0.2: 0.1, 0.4: 0.6}[rate] * (seed + 3)

    rates = (0.0, 0.2, 0.4)
    noisy: Callable[[str, float, int], float] = lambda m, r, s: 80.0 + (s * s if r == 0.2 else s)  # noqa: E731
    one, _, _ = study(tmp_path / "a", noisy, methods=("SGD",), rates=rates)
    two, _, _ = study(tmp_path / "b", lambda m, r, s: noisy(m, r, s) + values(m, r, s), methods=("SGD",), rates=rates)
    found = compare(read_study(one), read_study(two), ("old", "new"))
    raw = [scipy.stats.ttest_1samp([values("SGD", r, s) for s in (0, 1, 2)], 0).pvalue for r in rates]
    order = sorted(range(3), key=lambda i: raw[i])
    want = [0.0] * 3
    highest = 0.0
    for rank, i in enumerate(order):
        highest = want[i] = max(highest, min(1.0, raw[i] * (3 - rank)))
    assert [pair.p for pair in found.pairs] == pytest.approx(want)
    assert all(pair.p is not None and pair.p > p for pair, p in zip(found.pairs, raw, strict=True) if p < max(raw))


def test_without_scatter_the_p_value_is_nought_or_one() -> None:
    assert p_value(Difference(0.0, 0.0, 2)) == 1.0
    assert p_value(Difference(1.0, 0.0, 2)) == 0.0
    assert p_value(Difference(1.0)) is None


@pytest.mark.parametrize("changes", [{}, {"noise__sha256": "other"}])
def test_equal_differences_are_no_certainty(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Two seeds, 50 test images, +8 points in both: paired, t = 8 / (2 / sqrt 12) with one degree of freedom."""
    old, new = cell("SGD", 0.4, seeds=(0, 1)), cell("SGD", 0.4, seeds=(0, 1))
    first = [record(old, s, 60.0, data__test_size=50) for s in (0, 1)]
    second = [record(new, s, 68.0, data__test_size=50, **changes) for s in (0, 1)]
    found = both(tmp_path, first, second, ([old], [new]))
    (pair,) = found.pairs
    assert pair.half_width is not None
    assert pair.p is not None
    degrees = 2 if changes else 1
    assert pair.p == pytest.approx(2 * scipy.stats.t.sf(8 / (2 / 12**0.5), degrees))
    assert pair.half_width == pytest.approx(scipy.stats.t.ppf(0.975, degrees) * 2 / 12**0.5)
    assert "rounding to whole test images" in " ".join(contrast.text(found).split())


def test_no_p_value_is_printed_as_nought(tmp_path: Path) -> None:
    """Nothing is known of the test set here, so that equal differences have no error at all."""
    sgd = cell("SGD", 0.4)
    first, second = ([record(sgd, s, v + more, data__test_size=None) for s, v in OLD.items()] for more in (0, 1))
    found = both(tmp_path, first, second, ([sgd], [sgd]))
    assert [pair.p for pair in found.pairs] == [0.0]
    assert "< 0.001 *" in contrast.text(found)


def test_the_same_folder_is_identical_everywhere(tmp_path: Path) -> None:
    folder, _, _ = study(tmp_path / "s", lambda m, r, s: 80.0 + s)
    found = compare(read_study(folder), read_study(folder), ("old", "new"))
    assert all(pair.identical and not pair.apart and not pair.changes for pair in found.pairs)
    assert "4 cells in both: 0 higher in B, 0 lower, 4 not told apart" in contrast.text(found)
    assert "In 4 every run that both have came out the same." in contrast.text(found)


def test_what_is_only_in_one_and_which_settings_and_versions_differ(tmp_path: Path) -> None:
    old, new = cell("SGD", 0.4), cell("SGD", 0.4, settings={"training__optimizer__lr": 0.3})
    gone, come = cell("SAM", 0.4), cell("GCE", 0.4)
    first = [record(old, s, v) for s, v in OLD.items()]
    second = [record(new, s, v) for s, v in NEW.items()]
    for items, version in ((first, "2.6"), (second, "2.7")):
        for item in items:
            item["provenance"]["versions"] = {"torch": version, "numpy": "2.0"}
    found = both(tmp_path, first, second, ([old, gone], [new, come]))
    assert found.changes == [("training.optimizer.lr", "0.1", "0.3", 1)]
    assert found.versions == (("torch", "2.6", "2.7"),)
    said = contrast.text(found)
    assert "Only in A (1 cell): SAM at symmetric 0.4 (cifar10, resnet34)." in said
    assert "Only in B (1 cell): GCE at symmetric 0.4 (cifar10, resnet34)." in said
    assert "training.optimizer.lr: 0.1 in A, 0.3 in B (1 cell)" in said
    assert "torch: 2.6 in A, 2.7 in B" in said
    assert "numpy" not in said


def test_diverged_one_seed_and_no_result_are_said_and_not_tested(tmp_path: Path) -> None:
    cells = [cell(name, 0.4) for name in ("SGD", "SAM", "GCE")]
    first = [record(c, 0, 80.0) for c in cells]
    second = [record(cells[0], 0, 81.0), record(cells[1], 0, "nan", status="diverged")]
    found = both(tmp_path, first, second, (cells, cells))
    said = contrast.text(found)
    assert [pair.p for pair in found.pairs] == [None] * 3
    assert "one seed" in said
    assert "1/3 diverged" in said
    assert "no result" in said
    assert "3 without a test" in said


def test_all_forms_say_the_same_and_names_are_harmless(tmp_path: Path) -> None:
    evil = cell("=cmd|' /C calc'!A0", 0.4, variant="=cmd|' /C calc'!A0 <script>")
    evil["runs"] = {str(s): f"evil-s{s}" for s in (0, 1, 2)}
    first, second = ([record(evil, s, v) for s, v in values.items()] for values in (OLD, NEW))
    found = both(tmp_path, first, second, ([evil], [evil]))
    (row,) = csv.DictReader(io.StringIO(contrast.csv_text(found)))
    (same,) = json.loads(contrast.json_text(found))["cells"]
    assert row["method"].startswith("'=cmd")
    assert float(row["difference"]) == same["difference"] == pytest.approx(1.5)
    said = contrast.markdown_text(found)
    assert "<script>" not in said
    assert r"=cmd\|" in said
    assert "+1.50" in said
