"""``list literature`` with its filters, ``show KEY`` and ``cite`` as a user types them."""

from __future__ import annotations

import re

import pytest
from test_commands import nb as nb  # the fixture

from noisybench import literature
from noisybench.cli.literature import row


def test_filters_list_scores_and_say_which_are_unverified(nb) -> None:
    fit = ("--dataset", "cifar10", "--noise", "symmetric", "--rate", "0.4", "--method", "sam")
    code, out, _ = nb("list", "literature", *fit)
    found = literature.scores(dataset="cifar10", noise="symmetric", rate=0.4, method="SAM")
    doubtful = sum(not score.verified for score in found)
    assert code == 0
    assert 0 < doubtful < len(found)
    assert len(re.findall(r"^SAM ", out, re.M)) == len(found)
    assert out.count("unverified") == doubtful + 1
    assert f"{len(found)} scores, {doubtful} of them unverified" in out
    assert "Foret et al. 2021, Table 4" in out
    _, out, _ = nb("list", "literature", *fit, "--verified")
    assert len(re.findall(r"^SAM ", out, re.M)) == len(found) - doubtful
    assert "unverified" not in out
    _, out, _ = nb("list", "literature", *fit, "--unverified")
    assert f"{doubtful} score, all unverified." in out


def test_no_two_scores_of_a_source_look_alike() -> None:
    """What tells them apart (flip, split, epoch, block of rows, note) is in the line."""
    for source in literature.sources():
        lines = [tuple(row(score)) for score in source.scores]
        assert len(lines) == len(set(lines)), source.name


def test_show_puts_injected_noise_and_what_was_read_first(nb) -> None:
    _, out, _ = nb("show", "loss", "gce")
    lines = out[out.index("Published scores") :].splitlines()
    assert lines[1].split()[-1] == "remarks"
    assert all(" symmetric " in line for line in lines[3:11])
    assert "unverified" not in "".join(lines[3:11])


def test_without_a_filter_one_line_a_source(nb) -> None:
    _, out, _ = nb("list", "literature")
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(literature.source_names())


def test_bibtex_of_what_the_filters_leave(nb) -> None:
    _, out, _ = nb("list", "literature", "--method", "Co-teaching", "--noise", "pairflip", "--bibtex")
    assert "@inproceedings{han2018coteaching," in out
    assert "@inproceedings{foret2021sam," not in out


def test_cite_takes_keys_components_and_sources(nb) -> None:
    code, out, _ = nb("cite", "gce", "foret2021_table4", "arazo2019")
    assert code == 0
    assert re.findall(r"^@\w+\{(\w+),", out, re.M) == ["arazo2019", "foret2021sam", "zhang2018gce"]


def test_show_a_citation(nb) -> None:
    code, out, _ = nb("show", "zhang2018gce")
    assert code == 0
    assert "@inproceedings{zhang2018gce," in out
    assert "Here as: loss 'gce'" in out
    assert re.search(r"Scores of its method: .*\d+ in foret2021_table4", out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "literature", "--method", "Mixop"], "did you mean 'Mixup'"),
        (["list", "literature", "--dataset", "cifar"], "did you mean 'cifar10'"),
        (["list", "literature", "--rate", "40"], "0 to 1"),
        (["list", "literature", "--method", "SAM", "--rate", "0.99"], "--method SAM"),
        (["list", "loss", "--rate", "0.4"], "list literature"),
        (["list", "literature", "--rate", "40"], "40 % is --rate 0.4"),
        (
            ["inject", "--dataset", "digits", "--kind", "symmetric", "--rate", "40", "--out", "x.npz"],
            "40 % is --rate 0.4",
        ),
        (["show", "nosuch", "gce"], "no family of components is called 'nosuch'"),
        (["show", "los", "gce"], "did you mean 'loss'"),
        (["cite", "gcee"], "did you mean 'gce'"),
        (["cite", "mlp"], "names no paper"),
    ],
)
def test_a_wrong_word_is_one_line(nb, arguments, says) -> None:
    code, out, err = nb(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
