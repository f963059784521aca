"""The bootstrap over seeds x images against the variances it estimates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from studies import cell, plan, record, store

from noisybench.report import report
from noisybench.report.grid import make_grids
from noisybench.report.results import read_study
from noisybench.report.testset import TestSet, measure
from noisybench.store import write_arrays

IMAGES = 2000
Answers = Mapping[str, np.ndarray]
"""Method -> right or wrong ``[seed, image]``."""


def answers(shift: Mapping[str, tuple[float, ...]]) -> dict[str, np.ndarray]:
    """Images of different difficulty, the same for all; a seed's shift moves its share of right answers."""
    draws = np.random.default_rng(0)
    easy = draws.beta(4, 1, IMAGES)
    return {m: np.stack([draws.random(IMAGES) < easy + by for by in row]) for m, row in shift.items()}


def made(folder: Path, right: Answers, rate: float = 0.4) -> Path:
    """A store whose runs left their answers."""
    cells = [cell(m, rate, seeds=range(len(row))) for m, row in right.items()]
    records = []
    for c in cells:
        for s, row in enumerate(right[c["method"]]):
            records.append(record(c, s, 100 * float(row.mean()), data__test_size=len(row)))
            home = folder / str(c["runs"][str(s)])
            home.mkdir(parents=True)
            write_arrays(home / "correct.npz", {"correct": np.packbits(row), "images": np.array(len(row))})
    return store(folder, plan(cells), records)


def measured(folder: Path) -> TestSet:
    """Of the only grid; it must be there."""
    found = measure(make_grids(read_study(folder), "last")[0])
    assert found is not None
    return found


PLACE = ("A", "symmetric 0.4")


def test_images_alone_give_the_binomial_error_of_one_seed(tmp_path: Path) -> None:
    right = answers({"A": (0.0,)})
    share = right["A"].mean()
    part = measured(made(tmp_path / "s", right)).parts[PLACE]
    assert part.both is None
    assert part.images == pytest.approx(196 * math.sqrt(share * (1 - share) / IMAGES), rel=0.07)


def test_images_alone_give_the_spread_of_the_images_mean_answer(tmp_path: Path) -> None:
    right = answers({"A": (0.0, 0.01, -0.01)})
    part = measured(made(tmp_path / "s", right)).parts[PLACE]
    assert part.images == pytest.approx(196 * right["A"].mean(axis=0).std() / math.sqrt(IMAGES), rel=0.07)


def test_both_add_the_variance_of_seeds_without_bias(tmp_path: Path) -> None:
    """Where seeds differ by tens of points the images vanish and Student's interval of five seeds is left."""
    right = answers({"A": (0.0, -0.1, -0.2, -0.35, -0.5)})
    means = 100 * right["A"].mean(axis=1)
    part = measured(made(tmp_path / "s", right)).parts[PLACE]
    student = 2.776445 * means.std(ddof=1) / math.sqrt(5)
    assert part.both == pytest.approx(student, rel=0.07)
    assert part.images < 0.2 * student


def test_with_equal_seeds_both_is_little_more_than_images(tmp_path: Path) -> None:
    one = answers({"A": (0.0,)})["A"]
    part = measured(made(tmp_path / "s", {"A": np.repeat(one, 3, axis=0)})).parts[PLACE]
    seeds = 100 / IMAGES / math.sqrt(12) / math.sqrt(3)  # rounding to whole images, which no seed can be free of
    assert part.both == pytest.approx(math.hypot(part.images, 1.96 * seeds), abs=2e-4)


def test_equal_answers_leave_the_rounding_to_whole_images(tmp_path: Path) -> None:
    """Two seeds, no answer apart: each run's accuracy is still rounded, by 5 / sqrt 12 points of 20 images."""
    one = np.repeat(np.arange(20)[None] < 15, 2, axis=0)
    difference = measured(made(tmp_path / "s", {"A": one, "B": one})).difference(PLACE, ("B", PLACE[1]))
    assert difference is not None
    assert difference.images == 0.0
    assert difference.both == pytest.approx(12.7062 * 5 / math.sqrt(12), abs=1e-3)


def test_differences_are_paired_on_images(tmp_path: Path) -> None:
    """B differs from A on 20 images only: sqrt(0.01 - 0.01^2) / sqrt(2000) is its error, far below A's own."""
    one = answers({"A": (0.0,)})["A"]
    other = one.copy()
    other[0, np.flatnonzero(one[0])[:20]] = False
    found = measured(made(tmp_path / "s", {"A": one, "B": other}))
    difference = found.difference(PLACE, ("B", PLACE[1]))
    assert difference is not None
    assert difference.images == pytest.approx(196 * math.sqrt(0.01 * 0.99 / IMAGES), rel=0.07)
    assert difference.images < found.parts[PLACE].images / 2
    assert found.difference(PLACE, ("C", PLACE[1])) is None


def test_a_method_does_not_change_anothers_numbers(tmp_path: Path) -> None:
    right = answers({"B": (0.0, 0.02), "A": (0.0, 0.01)})
    together = measured(made(tmp_path / "s", right)).parts[PLACE]
    alone = measured(made(tmp_path / "t", {"A": right["A"]})).parts[PLACE]
    assert together == alone


def test_predictions_that_are_missing_damaged_or_anothers_are_not_used(tmp_path: Path) -> None:
    right = answers({"A": (0.0, 0.01), "B": (0.0, 0.01), "C": (0.0, 0.01), "D": (0.0, 0.01)})
    folder = made(tmp_path / "s", right)
    (folder / "b-0.4-s0" / "correct.npz").unlink()
    damaged = folder / "c-0.4-s0" / "correct.npz"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    wrong = ~right["D"][0]
    write_arrays(folder / "d-0.4-s0" / "correct.npz", {"correct": np.packbits(wrong), "images": np.array(IMAGES)})
    found = measured(folder)
    assert list(found.parts) == [PLACE]
    assert found.without == 3
    text = report(folder).to_markdown()
    assert "3 finished runs left no test predictions." in text


def test_every_form_says_it(tmp_path: Path) -> None:
    right = answers({"A": (0.0, 0.01, -0.02), "B": (-0.1, -0.12, -0.11)})
    folder = made(tmp_path / "s", right)
    part = measured(folder).parts[PLACE]
    text = report(folder).to_markdown()
    assert "### The test set's own part" in text
    assert f"± {part.images:.2f} / ± {part.both:.2f} |" in text
    assert "Another test set of 2,000 images would move these means by ±" in " ".join(report(folder).to_text().split())
    rows = {row["method"]: row for row in json.loads(report(folder).to_json())["cells"]}
    assert rows["A"]["images_half_width"] == part.images
    assert rows["A"]["seeds_images_half_width"] == part.both
    assert rows["A"]["to_baseline_images_half_width"] is None  # it is the baseline
    assert rows["B"]["to_baseline_images_half_width"] > 0


def test_a_store_without_predictions_says_nothing(tmp_path: Path) -> None:
    c = cell("A", 0.4)
    text = report(store(tmp_path / "s", plan([c]), [record(c, s, 80.0) for s in (0, 1, 2)])).to_markdown()
    assert "test set's own part" not in text
