"""Citations as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from noisybench.literature.library import citation
from noisybench.literature.schema import Citation
from noisybench.literature.tex import escape

PROCEEDINGS = {
    "AAAI": "Proceedings of the AAAI Conference on Artificial Intelligence",
    "CVPR": "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
    "ICCV": "IEEE/CVF International Conference on Computer Vision (ICCV)",
    "ICLR": "International Conference on Learning Representations (ICLR)",
    "ICLR workshop": "International Conference on Learning Representations (ICLR), Workshop Track",
    "ICML": "International Conference on Machine Learning (ICML)",
    "IJCAI": "International Joint Conference on Artificial Intelligence (IJCAI)",
    "NeurIPS": "Advances in Neural Information Processing Systems (NeurIPS)",
    "WACV": "IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)",
}
JOURNALS = {
    "IEEE T-PAMI": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
    "JAIR": "Journal of Artificial Intelligence Research",
    "ReScience C": "ReScience C",
    "TMLR": "Transactions on Machine Learning Research",
}
UNCHECKED = "not checked against the paper"
_REMARK = re.compile(r" \(((?:v\d|earlier|replication)\b.*)\)$")
_DOI = re.compile(r"\bDOI (10\.[^\s{}\\]+)")


def bibliography(keys: Iterable[str], own: Mapping[str, Citation] | None = None) -> str:
    """The entries of these keys, sorted, each once; ``own`` are citations beside the library's.

    InputError with "did you mean" for a key that is in neither.
    """
    own = own or {}
    return "\n".join(entry(own[key] if key in own else citation(key)) for key in sorted(set(keys)))


def entry(cited: Citation) -> str:
    """One entry. What the library itself has not checked says so in a line above, which BibTeX skips."""
    title, remarks = _split(cited.title or "")
    venue, more = _split(cited.venue)
    notes = [*remarks, *more]
    kind, place = _place(venue)
    doi = [found for note in notes for found in _DOI.findall(note)]
    notes = [text for note in notes if (text := _DOI.sub("", note).strip(" ;,"))]
    arxiv = ("eprint", cited.arxiv), ("archivePrefix", "arXiv"), ("url", f"https://arxiv.org/abs/{cited.arxiv}")
    fields = [
        ("title", "{" + _quoted(title) + "}" if title else None),
        ("author", " and ".join(escape(author) for author in cited.authors)),
        (place, escape({**PROCEEDINGS, **JOURNALS}.get(venue, venue)) if venue != "arXiv" else None),
        ("year", str(cited.year)),
        *(arxiv if cited.arxiv else ()),
        *([("doi", doi[0])] if doi else []),
        ("note", escape("; ".join(notes)) or None),
    ]
    lines = [f"  {name} = {{{value}}}," for name, value in fields if value]
    above = [] if cited.checked else [f"% {cited.key}: {UNCHECKED}"]
    return "\n".join([*above, f"@{kind}{{{cited.key},", *lines, "}"]) + "\n"


def _split(text: str) -> tuple[str, list[str]]:
    """A title or venue without the remark in brackets that the library added to it, and that remark."""
    found = _REMARK.search(text)
    return (text[: found.start()], [found[1]]) if found else (text, [])


def _place(venue: str) -> tuple[str, str]:
    """Kind of entry, and the field that names the venue."""
    if venue in PROCEEDINGS:
        return "inproceedings", "booktitle"
    return ("article", "journal") if venue in JOURNALS else ("misc", "howpublished")


def _quoted(title: str) -> str:
    """A title with its straight quotation marks opened and closed."""
    return escape(re.sub(r'"([^"]*)"', r"“\1”", title))
