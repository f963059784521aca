"""What a suite comes to, in words and as YAML: ``show SUITE``."""

from __future__ import annotations

from typing import Any

import yaml

from noisybench.suite.expand import Expansion


def describe(expansion: Expansion) -> dict[str, Any]:
    """Name, description, counts, and the labels on each side of the grid."""
    header, cells = expansion.header, expansion.cells
    sides = {
        f"{side}s": list(dict.fromkeys(cell[side] for cell in cells))
        for side in ("dataset", "noise", "model", "method")
    }
    return {
        **{key: header[key] for key in ("suite", "version", "description", "recipe", "seeds", "report")},
        **sides,
        "variants": list(dict.fromkeys(cell["variant"] for cell in cells)),
        "cells": len(cells),
        "runs": len(expansion.runs),
    }


def render(expansion: Expansion) -> str:
    """YAML of every cell as it was resolved, with its run ids; blocks that all cells share are stated once, above."""
    about = {key: value for key, value in describe(expansion).items() if value not in ("", None)}
    shared = {}
    for block in ("dataset", "noise", "model", "training", "method"):
        first = expansion.cells[0]["settings"][block]
        if all(cell["settings"][block] == first for cell in expansion.cells):
            shared[block] = first
    parts = [_yaml(about)]
    if shared:
        parts.append("# in every cell\n" + _yaml(shared))
    for cell in expansion.cells:
        title = " | ".join(cell[key] for key in ("dataset", "noise", "model", "variant"))
        marks = f"  ({', '.join(cell['marks'])})" if cell["marks"] else ""
        own = {block: value for block, value in cell["settings"].items() if block not in shared}
        parts.append(f"# {title}{marks}\n" + _yaml({**own, "runs": cell["runs"]}))
    return "\n".join(parts)


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return text
