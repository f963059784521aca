"""The page: its structure, read with the standard library's parser."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from studies import cell, plan, record, store

from noisybench.errors import InputError
from noisybench.report import report

NAMES = ("SGD", "Mixup", "<script>alert('x')</script>", "=cmd|' /C calc'!A0", "Müller_ß", '"onload="x', "N" * 300)
VOID = {"meta", "link", "input", "br"}


class Node:
    """An element with its attributes, children and text."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Node] = []
        self.texts: list[str] = []

    def all(self, tag: str, **attributes: str) -> list[Node]:
        return [
            node
            for node in self.walk()
            if node.tag == tag and all(node.attributes.get(k.rstrip("_")) == v for k, v in attributes.items())
        ]

    def walk(self) -> Iterator[Node]:
        for child in self.children:
            yield child
            yield from child.walk()

    @property
    def text(self) -> str:
        return " ".join(" ".join([*self.texts, *(node.text for node in self.children)]).split())


class Tree(HTMLParser):
    """The page as nodes; an element left open, or closed when it is not open, fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root], f"left open: {self.open[-1].tag}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].texts.append(data)


def make(folder: Path) -> Path:
    """Strange names, a diverged and a missing run, published scores, an oracle."""
    cells = [cell(m, rate, marks=["oracle"] if m == "Mixup" else []) for rate in (0.2, 0.4) for m in NAMES]
    for i, planned in enumerate(cells):
        planned["runs"] = {seed: f"run-{i}-{seed}" for seed in planned["runs"]}
    records = []
    for i, planned in enumerate(cells):
        for seed in (0, 1, 2):
            if (i, seed) == (2, 1):
                records.append(record(planned, seed, "nan", status="diverged", noise__sha256=f"{seed:064x}"))
            elif (i, seed) != (12, 2):
                made = record(planned, seed, 80.0 + i + seed / 2, noise__sha256=f"{seed:064x}")
                made["provenance"] |= {"seconds": {"total": 12.0, "train": 10.0}, "device": "cpu"}
                records.append(made)
    return store(folder, plan(cells, report={"accuracy": "last", "compare": ["foret2021_table4"]}), records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("page") / "runs")


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return report(folder).to_html()


@pytest.fixture(scope="module")
def page(text: str) -> Node:
    return Tree(text).root


def view(page: Node, rule: str) -> Node:
    return page.all("div", **{"data-rule": rule})[0]


def test_nothing_is_fetched(page: Node, text: str) -> None:
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"] or ""
    assert policy.startswith("default-src 'none'")
    for node in page.walk():
        for key in ("src", "href", "xlink:href", "action", "data"):
            value = node.attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), f"<{node.tag} {key}={value}>"
    assert not re.search(r"url\((?!#)|@import", text)


def test_names_are_text(page: Node) -> None:
    assert len(page.all("script")) == 1
    assert not any(key.startswith("on") for node in page.walk() for key in node.attributes)
    heads = [node.text for node in view(page, "last").all("th", scope="row")]
    assert heads == list(NAMES)


def test_the_main_table_is_a_table(page: Node) -> None:
    table = view(page, "last").all("table")[0]
    assert table.all("caption")[0].text == "Test accuracy in %, last epoch"
    heads = table.all("th", scope="col")
    assert [head.attributes["aria-sort"] for head in heads] == ["none"] * 3
    assert [head.all("button")[0].text for head in heads] == ["method", "symmetric 20 %", "symmetric 40 %"]
    rows = [[cell.text for cell in row.all("td")] for row in table.all("tbody")[0].all("tr")]
    assert len(rows) == len(NAMES)
    assert rows[0][0].startswith("80.50 ")
    assert "n = 3" in rows[0][0]
    assert rows[2][0] == "1/3 diverged"
    assert "n = 2 of 3" in rows[5][1]


def test_published_score_difference_and_every_reason(page: Node) -> None:
    place = view(page, "last").all("tbody")[0].all("td")[0]
    assert "84.8 (−4.3)" in place.text
    assert "not comparable" in place.text
    footnotes = {node.attributes["id"] for node in page.walk() if str(node.attributes.get("id")).startswith("note-")}
    used = [a.attributes["href"] for a in page.all("a") if str(a.attributes.get("href")).startswith("#note-")]
    assert used
    assert {str(link)[1:] for link in used} == footnotes
    told = " ".join(node.text for node in page.all("dl"))
    for word in ("architecture", "oracle", "epochs"):
        assert word in told


def test_rules_that_the_records_have_can_be_switched_to(page: Node) -> None:
    inputs = page.all("input", name="rule")
    assert [node.attributes["value"] for node in inputs] == ["last", "last10", "best"]
    assert ["checked" in node.attributes for node in inputs] == [True, False, False]
    assert ["hidden" in view(page, rule).attributes for rule in ("last", "last10", "best")] == [False, True, True]
    assert view(page, "best").all("tbody")[0].all("td")[0].text.startswith("82.50 ")


def test_every_link_inside_the_page_leads_somewhere_and_identifiers_are_unique(page: Node) -> None:
    ids = [str(node.attributes["id"]) for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in page.all("a"):
        assert str(node.attributes["href"])[1:] in ids
    for key in ("aria-labelledby", "aria-describedby", "for"):
        for node in page.walk():
            assert set(str(node.attributes.get(key) or "").split()) <= set(ids)


def test_every_number_says_how_it_was_made(page: Node) -> None:
    links = [a.attributes["href"] for a in view(page, "last").all("a", class_="value")]
    sections = [node for node in page.all("details") if node.attributes.get("class") == "how"]
    assert len(sections) == 2 * len(NAMES)
    assert links == [f"#how-{i + j * len(NAMES)}" for i in range(len(NAMES)) for j in (0, 1)]
    first = sections[0]
    assert first.all("summary")[0].text.startswith("SGD, symmetric 0.2")
    assert "noisybench run example.yaml --only method=SGD --only 'noise=symmetric 0.2'" in first.text
    assert "batch_size: 128" in first.all("pre")[0].text
    assert f"{1:064x}"[:16] in first.text
    assert "12 s" in first.text
    assert "training.epochs 120 200" in first.text


def test_pictures_are_in_it(page: Node) -> None:
    names = [node.attributes["id"] for node in page.all("figure")]
    assert names == ["figure-accuracy", "figure-seeds", "figure-cost"]
    for node in page.all("svg"):
        assert node.attributes["role"] == "img"
        assert node.all("title")[0].text


def test_same_records_same_bytes_in_any_order(text: str, tmp_path: Path, folder: Path) -> None:
    paths = list(folder.glob("*/record.json"))
    random.Random(0).shuffle(paths)
    other = tmp_path / "runs"
    other.mkdir()
    (other / "plan.json").write_bytes((folder / "plan.json").read_bytes())
    for path in paths:
        (other / path.parent.name).mkdir()
        (other / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert report(other).to_html() == text


def test_a_study_without_records_has_a_page(tmp_path: Path) -> None:
    page = Tree(report(store(tmp_path, plan([cell("SGD", 0.4)]), [])).to_html()).root
    assert "missing" in page.all("tbody")[0].text
    assert not page.all("figure")


def test_light_dark_paper_and_little_motion(page: Node) -> None:
    style = page.all("style")[0].text
    for word in ("prefers-color-scheme: dark", "prefers-reduced-motion", "@media print", ":focus-visible"):
        assert word in style


def test_a_watched_page_loads_itself_anew_and_says_so(folder: Path, page: Node) -> None:
    watched = Tree(report(folder).to_html(refresh=5.0)).root
    assert watched.all("html")[0].attributes["data-refresh"] == "5"
    assert "looks for newer results every 5 s" in watched.all("header")[0].text
    assert "data-refresh" not in page.all("html")[0].attributes


def test_page_and_pictures_are_written(tmp_path: Path, folder: Path, text: str) -> None:
    paths = report(folder).write(tmp_path, ["html", "svg"])
    found = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert found == ["report.html", "figures/accuracy.svg", "figures/seeds.svg", "figures/cost.svg"]
    assert paths[0].read_text(encoding="utf-8") == text
    with pytest.raises(InputError, match="no report form 'htlm'; did you mean 'html'"):
        report(folder).write(tmp_path, ["htlm"])
