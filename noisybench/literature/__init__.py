"""Published scores: facts in YAML, the protocol behind each, and citations. Imports no torch.

>>> from noisybench.literature import load_source
>>> table = load_source("foret2021_table4")
>>> [s.acc for s in table.scores if s.method == "SAM"]
[95.1, 93.4, 90.5, 77.9]
"""

from __future__ import annotations

from noisybench.literature.library import citation, citations, load_source, scores, source_names, sources
from noisybench.literature.schema import Citation, Origin, Protocol, Score, Source

__all__ = [
    "Citation",
    "Origin",
    "Protocol",
    "Score",
    "Source",
    "citation",
    "citations",
    "load_source",
    "scores",
    "source_names",
    "sources",
]
