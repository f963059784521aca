"""Which published row stands beside which cell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from studies import cell, plan, record, store

from noisybench.errors import InputError
from noisybench.literature import Source, load_source
from noisybench.report.grid import make_grids
from noisybench.report.published import Comparison, alone_by_method, beside
from noisybench.report.results import read_study


def compared(tmp_path: Path, cells: list[dict[str, Any]], source: Source | str, rule: str = "last") -> Comparison:
    """A source beside a study whose runs all have 80 %."""
    source = load_source(source) if isinstance(source, str) else source
    records = [record(c, int(s), 80.0) for c in cells for s in c["runs"]]
    return beside(make_grids(read_study(store(tmp_path / "s", plan(cells), records)), rule)[0], source, rule)


def test_a_method_finds_its_row_by_its_name_whatever_the_case(tmp_path: Path) -> None:
    found = compared(tmp_path, [cell("sgd", 0.4), cell("Other", 0.4)], "foret2021_table4")
    assert [(place, p.score.acc) for place, p in found.partners.items()] == [(("sgd", "symmetric 0.4"), 68.8)]
    partner = found.partners["sgd", "symmetric 0.4"]
    assert partner.difference == pytest.approx(11.2)
    assert partner.verdict == "differs"


def test_published_names_the_row(tmp_path: Path) -> None:
    found = compared(tmp_path, [cell("GCE", 0.4, published="Zhang & Sabuncu")], "foret2021_table4")
    assert found.partners["GCE", "symmetric 0.4"].score.acc == 87.6


def test_a_collapsed_method_is_found_by_its_name_not_its_variant(tmp_path: Path) -> None:
    cells = [cell("Mixup", 0.4, variant=f"Mixup[alpha={a}]", choose="best") for a in (1, 8)]
    assert compared(tmp_path, cells, "foret2021_table4").partners["Mixup", "symmetric 0.4"].score.acc == 90.0


def test_the_rate_the_kind_and_the_data_set_must_agree(tmp_path: Path) -> None:
    cells = [
        cell("SGD", 0.3),
        cell("SGD", 0.4, noise="pairflip 0.4", settings={"noise__kind": "pairflip"}, seeds=()),
        cell("SGD", 0.2, noise="digits", settings={"dataset__name": "digits"}, seeds=()),
    ]
    found = compared(tmp_path, cells, "foret2021_table4")
    assert found.partners == {}
    assert (found.alone, found.elsewhere) == ((), 48)


def test_pmd_noise_is_found_by_type_and_rate(tmp_path: Path) -> None:
    noise = {"kind": "pmd", "type": "II", "rate": 0.35}
    (partner,) = compared(tmp_path, [cell("ERM", 0.35, settings={"noise": noise})], "cmwnet2023").partners.values()
    assert (partner.score.split, partner.score.rate) == ("pmd_type_II", 0.35)


def test_at_rate_zero_every_kind_is_clean(tmp_path: Path) -> None:
    found = compared(tmp_path, [cell("CE", 0.0)], "epssoftmax2024")
    assert found.partners["CE", "symmetric 0"].score.noise == "clean"


def test_of_several_rows_the_nearest_in_rule_is_shown(tmp_path: Path) -> None:
    """Arazo et al. print the last and the best epoch of Mixup at 20 %: 92.3 and 95.6 in the file."""
    cells = [cell("Mixup", 0.2)]
    last = compared(tmp_path, cells, "arazo2019", "last").partners["Mixup", "symmetric 0.2"]
    best = compared(tmp_path, cells, "arazo2019", "best").partners["Mixup", "symmetric 0.2"]
    assert (last.score.epoch, last.alternatives) == ("last", 1)
    assert (best.score.epoch, best.alternatives) == ("best", 1)
    assert last.score.acc < best.score.acc


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"flip": "incl"}, {"noise__flip": "inclusive"}),
        ({"flip": "excl"}, {"noise__flip": "exclusive"}),
        ({"arch": "resnet34"}, {"model__name": "resnet34"}),
        ({"arch": "cnn8"}, {"model__name": "cnn8"}),
        ({"verified": True}, {}),
        ({"metric": "test_acc"}, {}),
    ],
)
def test_of_several_rows_the_nearest_is_shown(
    tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    whole = load_source("foret2021_table4")
    sgd = next(s for s in whole.scores if s.method == "SGD" and s.rate == 0.4)
    far = dataclasses.replace(sgd, arch=None, flip=None, verified=False, metric="clean_val_acc", acc=1.0)
    near = dataclasses.replace(far, acc=2.0, **changes)
    source = dataclasses.replace(whole, scores=(far, near, far))
    partner = compared(tmp_path, [cell("SGD", 0.4, settings=settings)], source).partners["SGD", "symmetric 0.4"]
    assert (partner.score.acc, partner.alternatives) == (2.0, 2)


def test_human_labels_are_matched_by_their_split(tmp_path: Path) -> None:
    human = cell("GCE", 0.4, noise="human worst", settings={"noise": {"kind": "human", "labels": "worst"}}, seeds=())
    partner = compared(tmp_path, [human], "cifarn_leaderboard").partners["GCE", "human worst"]
    assert partner.score.split == "worst"


def test_rows_without_a_partner_are_listed(tmp_path: Path) -> None:
    cells = [cell(m, r) for r in (0.2, 0.8) for m in ("SGD", "SAM")]
    found = compared(tmp_path, cells, "foret2021_table4")
    grid = make_grids(read_study(tmp_path / "s"), "last")[0]
    alone = {m: [s.acc if s else None for s in scores] for m, scores in alone_by_method(found, grid)}
    assert alone["MentorMix"] == [95.6, 81.0]
    assert alone["Lee et al."] == [87.1, None]
    assert "SGD" not in alone
    assert len(alone) == 11
    assert found.elsewhere == 48 - 13 - 11  # 13 rows at 20 %, 11 at 80 %


def test_nothing_measured_gives_no_difference_and_no_verdict(tmp_path: Path) -> None:
    grid = make_grids(read_study(store(tmp_path / "s", plan([cell("SGD", 0.4)]), [])), "last")[0]
    partner = beside(grid, load_source("foret2021_table4"), "last").partners["SGD", "symmetric 0.4"]
    assert (partner.score.acc, partner.difference, partner.verdict) == (68.8, None, None)


def test_a_diverged_method_has_no_difference(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4)
    records = [record(sgd, 0, "nan", status="diverged"), record(sgd, 1, 80.0), record(sgd, 2, 80.0)]
    grid = make_grids(read_study(store(tmp_path / "s", plan([sgd]), records)), "last")[0]
    assert beside(grid, load_source("foret2021_table4"), "last").partners["SGD", "symmetric 0.4"].difference is None


def test_data_counts_as_what_its_records_say(tmp_path: Path) -> None:
    sgd = cell("SGD", 0.4, settings={"dataset__name": "npz", "dataset__as": "cifar10"})
    grid = make_grids(read_study(store(tmp_path / "s", plan([sgd]), [])), "last")[0]
    assert beside(grid, load_source("foret2021_table4"), "last").partners
    records = [record(sgd, s, 80.0, data__comparable_as=None) for s in (0, 1, 2)]
    grid = make_grids(read_study(store(tmp_path / "t", plan([sgd]), records)), "last")[0]
    assert not beside(grid, load_source("foret2021_table4"), "last").partners


SEEDS = {"0": 79.0, "1": 80.0, "2": 81.0}


def beside_spread(folder: Path, values: dict[str, float] = SEEDS, **score: Any) -> Comparison:
    """SGD with these accuracies beside SGD of Foret et al. with other words on its spread."""
    sgd = cell("SGD", 0.4, seeds=tuple(map(int, values)))
    whole = load_source("foret2021_table4")
    one = dataclasses.replace(next(s for s in whole.scores if s.method == "SGD" and s.rate == 0.4), **score)
    records = [record(sgd, int(seed), value) for seed, value in values.items()]
    grid = make_grids(read_study(store(folder, plan([sgd]), records)), "last")[0]
    return beside(grid, dataclasses.replace(whole, scores=(one,)), "last")


def half_width(found: Comparison) -> float | None:
    """Of the only pair."""
    return found.partners["SGD", "symmetric 0.4"].half_width


def test_a_published_spread_gives_welchs_interval(tmp_path: Path) -> None:
    """80 +- 1 over three seeds minus 68.8 +- 2 over five, as scipy has it from summary statistics."""
    theirs = scipy.stats.ttest_ind_from_stats(80, 1, 3, 68.8, 2, 5, equal_var=False)
    error = 11.2 / theirs.statistic
    degrees = (1 / 3 + 4 / 5) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 5) ** 2 / 4)
    assert error == pytest.approx((1 / 3 + 4 / 5) ** 0.5)
    found = half_width(beside_spread(tmp_path / "s", std=2.0, seeds=5))
    assert found == pytest.approx(scipy.stats.t.ppf(0.975, degrees) * error)


def test_a_published_interval_is_taken_for_the_larger_error_it_may_stand_for(tmp_path: Path) -> None:
    found = half_width(beside_spread(tmp_path / "s", ci95=0.5, seeds=5))
    same = half_width(beside_spread(tmp_path / "t", std=0.5 / 1.959964 * 5**0.5, seeds=5))
    assert found == pytest.approx(same)


@pytest.mark.parametrize("score", [{}, {"std": 2.0}, {"seeds": 5}, {"std": 2.0, "seeds": 1}])
def test_without_seeds_and_spread_only_the_difference_is_shown(tmp_path: Path, score: dict[str, Any]) -> None:
    found = beside_spread(tmp_path / "s", **score)
    assert half_width(found) is None
    assert found.partners["SGD", "symmetric 0.4"].difference == pytest.approx(11.2)


def test_equal_accuracies_here_are_rounded_to_whole_images(tmp_path: Path) -> None:
    """Of 10000 images: 0.01 / sqrt 12 stands for the spread of these three seeds."""
    found = half_width(beside_spread(tmp_path / "s", dict.fromkeys("012", 80.0), std=0.0, seeds=5))
    assert found == pytest.approx(scipy.stats.t.ppf(0.975, 2) * 0.01 / 36**0.5)


def test_one_seed_here_gives_no_interval(tmp_path: Path) -> None:
    assert half_width(beside_spread(tmp_path / "s", {"0": 80.0}, std=2.0, seeds=5)) is None


def test_an_unknown_table_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'foret2021_table4'"):
        compared(tmp_path, [cell("SGD", 0.4)], "foret2021_table_4")
