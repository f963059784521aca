"""The suites that come with the package: inside it when installed, beside it in a checkout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noisybench.errors import SuiteError
from noisybench.registry import did_you_mean
from noisybench.suite.reading import one_line, plain, read

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Shipped:
    """A shipped suite by name."""

    name: str
    path: Path
    description: str


def folder() -> Path:
    """``noisybench/suites`` of an installed package, else ``suites`` of the checkout."""
    inside = _PACKAGE / "suites"
    return inside if inside.is_dir() else _PACKAGE.parent / "suites"


def shipped_suites() -> list[Shipped]:
    """All shipped suites, sorted by name; reads their first lines only."""
    found = []
    for path in sorted(folder().glob("*.yaml")):
        root = read(path, shown=path.name)
        header = plain(root) if root.is_mapping else {}
        found.append(Shipped(path.stem, path, str(header.get("description", ""))))
    return found


def find(source: str | Path) -> Path:
    """The file that ``source`` means: a path, or the name of a shipped suite. SuiteError with "did you mean"."""
    path, shown = Path(source), one_line(str(source))
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror or error}", file=shown) from None
    known: Mapping[str, Path] = {file.stem: file for file in sorted(folder().glob("*.yaml"))}
    if isinstance(source, str) and source in known:
        return known[source]
    if path.is_dir():
        raise SuiteError("is a folder, not a suite file", file=shown)
    ships = f"shipped suites: {', '.join(known)}" if known else "no suites are shipped"
    if isinstance(source, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise SuiteError(f"no such file{did_you_mean(path.stem, known)}; {ships}", file=shown)
    raise SuiteError(f"no suite '{shown}'{did_you_mean(str(source), known)}; {ships}, or a path to a YAML file")
