"""CSV that a spreadsheet opens without running anything in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

STARTS = "=+-@|%＝＋－＠"
"""What a cell of text may not begin with, blanks and control characters before it aside: a formula would."""


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV under all keys that occur, in order of first use; lists are joined by ``; ``, None is empty."""
    flat = [{_safe(key): _flat(value) for key, value in row.items()} for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        value = "; ".join(str(item) for item in value)
    return _safe(value) if isinstance(value, str) else value


def _safe(text: str) -> str:
    """Text with ``'`` before it where a spreadsheet would run it, and without control characters but line ends."""
    if not text.isprintable():
        text = "".join(c for c in text if (c >= " " and c != "\x7f") or c in "\n\t")
    start = text.lstrip()
    return f"'{text}" if (start[:1] and start[0] in STARTS) or text[:1] in ("\t", "\n") else text
