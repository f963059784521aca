"""The shipped files: every score loads, every key resolves, every value is in range."""

from __future__ import annotations

import collections
import subprocess
import sys

import pytest
import yaml

from noisybench import literature
from noisybench.errors import DataError, InputError, NoisybenchError
from noisybench.literature.library import FOLDER, load_source
from noisybench.literature.words import ARCHITECTURES, DATASETS, FLIPS, KINDS, RULES

SCORES = {
    "apl2020": 9,
    "arazo2019": 100,
    "cifarn_leaderboard": 145,
    "cifarn_reproduction": 138,
    "cmwnet2023": 296,
    "coteaching2018": 42,
    "dividemix2020": 122,
    "elr2020": 100,
    "epssoftmax2024": 328,
    "foret2021_table1": 60,
    "foret2021_table4": 48,
    "foret2021_table8": 28,
    "gce2018": 72,
    "idn": 22,
    "jocor2020": 36,
    "mentormix2020": 20,
    "mentornet2018_repo": 60,
    "sam_family": 15,
    "sce2019": 21,
}


def test_every_score_of_every_file_loads() -> None:
    assert {source.name: len(source.scores) for source in literature.sources()} == SCORES
    assert len(literature.scores()) == sum(SCORES.values()) == 1662
    assert sum(score.verified for score in literature.scores()) == 1480


def test_every_value_is_known_and_in_range() -> None:
    for score in literature.scores():
        assert score.dataset in DATASETS
        assert score.noise in KINDS
        assert score.arch is None or score.arch in ARCHITECTURES
        assert score.flip is None or score.flip in FLIPS
        assert score.epoch is None or score.epoch in RULES
        assert 0 <= score.rate <= 1
        assert 0 < score.acc < 100
        assert score.std is None or 0 <= score.std < 20
        assert score.table


def test_every_citation_key_resolves() -> None:
    for score in literature.scores():
        assert literature.citation(score.cite).key == score.cite
        assert score.method_cite is None or literature.citation(score.method_cite).key == score.method_cite


def test_flips_are_stated_for_symmetric_noise_only() -> None:
    assert {s.noise for s in literature.scores() if s.flip is not None} == {"symmetric"}


def test_no_file_has_a_duplicate_key_or_score() -> None:
    class Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}"
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    for path in sorted(FOLDER.glob("*.yaml")):
        yaml.load(path.read_text(encoding="utf-8"), Loader=Strict)
    twice = collections.Counter(literature.scores())
    assert [score for score, n in twice.items() if n > 1] == []


def test_table_4_of_foret_is_as_printed() -> None:
    printed = {
        "SGD": [84.8, 68.8, 48.2, 26.2],
        "Mixup": [93.0, 90.0, 83.8, 70.2],
        "Bootstrap + Mixup": [93.3, 92.0, 87.6, 72.0],
        "SAM": [95.1, 93.4, 90.5, 77.9],
        "Bootstrap + SAM": [95.4, 94.2, 91.8, 79.9],
    }
    own = [s for s in literature.load_source("foret2021_table4").scores if s.group == "own"]
    assert {m: [s.acc for s in own if s.method == m] for m in printed} == printed
    assert len(own) == 20


def test_foret_protocol_states_what_the_paper_states_and_no_more() -> None:
    source = literature.load_source("foret2021_table4")
    by = {(s.method, s.rate): source.protocol(s) for s in source.scores}
    assert by["SAM", 0.4].parameters == {"training.optimizer.rho": 0.1}
    assert by["SAM", 0.8].parameters == {"training.optimizer.rho": 0.05}
    assert by["SAM", 0.8].validation == "clean"
    assert by["SGD", 0.2].epochs == 200
    for name in (
        "lr",
        "weight_decay",
        "momentum",
        "schedule",
        "augment",
        "train_size",
        "count",
        "averaging",
        "precision",
    ):
        assert getattr(by["SAM", 0.4], name) is None, name
    assert by["MentorMix", 0.2].quoted_from == "Jiang et al. 2019 (MentorMix)"
    assert by["MentorMix", 0.2].epochs is None


def test_robust_loss_protocol_depends_on_the_data_set() -> None:
    source = literature.load_source("epssoftmax2024")
    protocols = {}
    for s in source.scores:
        if s.table == "Wang et al. 2024, Table 2" and s.noise == "symmetric" and s.rate == 0.8:
            protocols[s.method, s.dataset] = source.protocol(s)
    small, large = protocols["GCE", "cifar10"], protocols["GCE", "cifar100"]
    assert (small.epochs, small.lr, small.weight_decay, small.clip) == (120, 0.01, 1e-4, 5.0)
    assert (large.epochs, large.lr, large.weight_decay, large.schedule) == (200, 0.1, 1e-5, {"name": "cosine"})
    assert small.parameters == {"method.loss.q": 0.7}
    assert large.parameters == {"method.loss.q": 0.9}
    assert protocols["NLNL", "cifar10"].quoted_from == "Zhou et al. 2021"


def test_own_recipes_of_the_leaderboard_are_not_stated() -> None:
    source = literature.load_source("cifarn_leaderboard")
    protocols = {s.method: source.protocol(s) for s in source.scores if s.cite == "wei2022cifarn"}
    assert (protocols["CE"].epochs, protocols["CE"].train_size) == (100, 50_000)
    assert (protocols["DivideMix"].epochs, protocols["DivideMix"].train_size) == (None, 50_000)


def test_files_from_memory_or_notes_state_no_protocol() -> None:
    for name in ("sce2019", "gce2018", "jocor2020", "idn", "arazo2019", "sam_family"):
        assert literature.load_source(name).rules == ()


def test_scores_filter() -> None:
    found = literature.scores(dataset="cifar10", noise="symmetric", rate=0.4, method="sam", verified=True)
    assert [(s.source, s.acc) for s in found] == [("foret2021_table4", 93.4)]
    assert literature.scores(source="foret2021_table8", verified=False) == ()


def test_unknown_names_are_input_errors_that_suggest() -> None:
    with pytest.raises(InputError, match="did you mean 'foret2021_table4'"):
        literature.load_source("foret2021_tabel4")
    with pytest.raises(InputError, match="did you mean 'foret2021sam'"):
        literature.citation("foret2021sma")


def test_a_citation_reads_as_one_line() -> None:
    assert str(literature.citation("zhang2018gce")) == (
        "Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels, "
        "NeurIPS 2018, arXiv:1805.07836"
    )
    assert str(literature.citation("foret2021sam")).startswith("Foret et al., ")


def test_files_are_read_once_and_lazily() -> None:
    assert literature.load_source("idn") is literature.load_source("idn")
    code = "import sys; from noisybench import literature; literature.load_source('idn'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


OWN = """
schema: 1
title: My table
sources: {paper: {kind: primary_text, url: "https://example.org", read_as: own runs}}
notes: []
citations: [{key: me2026, title: Mine, authors: [Me], venue: here, year: 2026, arxiv: null, checked: true}]
scores:
  - {method: SGD, dataset: cifar10, noise: symmetric, rate: 0.4, acc: 77.0, metric: test_acc, cite: me2026,
     table: Table 1, verified: true, seen_in: paper}
"""


def test_a_table_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    source = load_source(str(path))
    assert (source.name, source.title) == ("mine", "My table")
    assert [(score.method, score.acc, score.cite) for score in source.scores] == [("SGD", 77.0, "me2026")]
    path.write_text(OWN.replace("77.0", "78.0"))
    assert load_source(str(path)).scores[0].acc == 78.0, "a file may change"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("acc: 77.0", "acc: 770"), r"mine.yaml, score 1 \(SGD\): acc"),
        (("cite: me2026", "cite: you2026"), "cite 'you2026' is not known"),
        (("title: My table", "titel: My table"), "titel"),
        (("scores:", "scores: 3 #"), "scores must be a list"),
    ],
)
def test_mistakes_in_a_table_of_ones_own_are_one_line(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN.replace(*change) if change[0] != "scores:" else OWN.partition("scores:")[0] + "scores: 3\n")
    with pytest.raises(NoisybenchError, match=message) as caught:
        load_source(str(path))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.yaml: no such file"):
        load_source(str(tmp_path / "nowhere.yaml"))


def test_a_table_brings_its_own_citations(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    assert [str(cited) for cited in load_source(str(path)).citations.values()] == ["Me, Mine, here 2026"]
    assert load_source("idn").citations == {}


def test_a_key_of_the_library_stays_the_paper_it_is(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN.replace("me2026", "foret2021sam"))
    with pytest.raises(DataError, match=r"mine\.yaml: citations: 'foret2021sam' is another paper in citations\.yaml"):
        load_source(str(path))
    here = literature.citation("foret2021sam")
    same = {**vars(here), "authors": list(here.authors)}
    path.write_text(OWN.replace("me2026", "foret2021sam").replace("citations: [{", f"citations: [{same}] # [{{"))
    assert load_source(str(path)).citations == {"foret2021sam": here}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("title: My table", "title: 2021-13-45"),
            ":3: not valid YAML: 2021-13-45 is no value: month must be in 1..12",
        ),
        (("acc: 77.0", "acc: 77.0, acc: 78.0"), ":8: acc: the key is stated twice (first in line 8)"),
        (("notes: []", "notes: []\ntitle: Again"), ":6: title: the key is stated twice (first in line 3)"),
        (("acc: 77.0", "acc: 770"), ", score 1 (SGD): acc must lie in 0 to 100, not 770"),
        (("arxiv: null", "arxiv: 3"), ", citation 1: arxiv must be str, not 3"),
        (("title: My table\n", ""), ": title is missing"),
    ],
)
def test_a_mistake_names_the_file_as_it_was_given(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    given = "./tables/mine.yml"
    (tmp_path / given).write_text(OWN.replace(*change))
    with pytest.raises(DataError) as caught:
        load_source(given)
    assert str(caught.value) == given + message
