"""BibTeX of every citation: entries that BibTeX can read, with nothing lost."""

from __future__ import annotations

import re

import pytest
from test_literature_tex import balanced

from noisybench import literature
from noisybench.errors import InputError
from noisybench.literature import Citation, bibtex

NEEDED = {
    "inproceedings": {"title", "author", "booktitle", "year"},
    "article": {"author", "journal", "year"},
    "misc": {"title", "author", "year"},
}


def parse(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Key -> kind and fields, by the grammar of BibTeX: what stands between entries is skipped."""
    out = {}
    for found in re.finditer(r"^@(\w+)\{([^,\s{}]+),\n(.*?)^\}$", text, re.S | re.M):
        fields = re.findall(r"^  (\w+) = \{(.*)\},$", found[3], re.M)
        assert len(fields) == found[3].count("\n")
        out[found[2]] = (found[1], dict(fields))
    return out


def test_every_citation_is_an_entry_with_the_fields_its_kind_needs() -> None:
    text = bibtex.bibliography(literature.citations())
    assert text.isascii()
    found = parse(text)
    assert sorted(found) == sorted(literature.citations())
    for key, (kind, fields) in found.items():
        assert NEEDED[kind] <= fields.keys(), key
        assert all(balanced(value) and value for value in fields.values()), key
        assert int(fields["year"]) == literature.citation(key).year
        assert len(fields["author"].split(" and ")) == len(literature.citation(key).authors), key


def test_umlauts_remarks_and_identifiers_of_an_entry() -> None:
    found = parse(bibtex.bibliography(["hudovernik2026", "luong2024saner", "lin2017focal"]))
    kind, fields = found["hudovernik2026"]
    assert kind == "article"
    assert fields["author"].split(" and ")[1] == r"{\v{Z}}iga Rot"
    assert fields["journal"] == "ReScience C"
    assert fields["doi"] == "10.5281/zenodo.18401497"
    _, fields = found["luong2024saner"]
    assert fields["title"].endswith("Gradient Down-weighting}")
    assert fields["note"].startswith("v1: Improving Resistance")
    assert (fields["eprint"], fields["archivePrefix"]) == ("2411.17132", "arXiv")


def test_what_is_not_checked_says_so_outside_the_entry() -> None:
    assert not literature.citation("lin2017focal").checked
    assert bibtex.bibliography(["lin2017focal"]).startswith("% lin2017focal: not checked")
    assert bibtex.bibliography(["foret2021sam"]).startswith("@inproceedings{foret2021sam,")


def test_each_key_once_and_sorted_and_none_that_is_unknown() -> None:
    text = bibtex.bibliography(["foret2021sam", "arazo2019", "foret2021sam"])
    assert re.findall(r"^@\w+\{(\w+),", text, re.M) == ["arazo2019", "foret2021sam"]
    with pytest.raises(InputError, match="did you mean 'foret2021sam'"):
        bibtex.bibliography(["foret2021"])


def test_citations_beside_the_librarys_are_entries_too() -> None:
    mine = Citation("me2026", "Mine & yours", ("Me", "You"), "here", 2026, None, True)
    text = bibtex.bibliography(["me2026", "foret2021sam"], {"me2026": mine})
    found = parse(text)
    assert sorted(found) == ["foret2021sam", "me2026"]
    assert found["me2026"] == (
        "misc",
        {"title": r"{Mine \& yours}", "author": "Me and You", "howpublished": "here", "year": "2026"},
    )


def test_nothing_in_a_doi_acts() -> None:
    venue = r"here (v1; DOI 10.1/a_b}\input{x)"
    text = bibtex.entry(Citation("me2026", "Mine", ("Me",), venue, 2026, None, True))
    _, fields = parse(text)["me2026"]
    assert fields["doi"] == "10.1/a_b"
    assert all(balanced(value) for value in fields.values())
    assert r"\input" not in text
