"""The suites that come with the package: inside it when installed, beside it in a checkout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noisybench.errors import SuiteError
from noisybench.registry import did_you_mean
from noisybench.suite.reading import one_line, plain, read

NOT_SUITES = ("expect.yaml",)
"""Files beside suites that are none: what ``report --check`` reads."""
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Shipped:
    """A shipped suite by name: its file's path under the folder of suites, without ``.yaml`` (``proof/evening``)."""

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
    for name, path in known().items():
        root = read(path, shown=path.name)
        header = plain(root) if root.is_mapping else {}
        found.append(Shipped(name, path, str(header.get("description", ""))))
    return found


def known() -> dict[str, Path]:
    """Name -> file of every shipped suite; those in subfolders last."""
    top = folder()
    paths = sorted(path.relative_to(top) for pattern in ("*.yaml", "*/*.yaml") for path in top.glob(pattern))
    suites = [path for path in paths if path.name not in NOT_SUITES]
    return {path.with_suffix("").as_posix(): top / path for path in sorted(suites, key=lambda p: (len(p.parts), p))}


def find(source: str | Path) -> Path:
    """The file that ``source`` means: a path, or the name of a shipped suite. SuiteError with "did you mean"."""
    path, shown = Path(source), one_line(str(source))
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror or error}", file=shown) from None
    ours = known()
    if isinstance(source, str) and source in ours:
        return ours[source]
    if path.is_dir():
        raise SuiteError("is a folder, not a suite file", file=shown)
    ships = f"shipped suites: {', '.join(ours)}" if ours else "no suites are shipped"
    if isinstance(source, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise SuiteError(f"no such file{did_you_mean(path.stem, ours)}; {ships}", file=shown)
    raise SuiteError(f"no suite '{shown}'{did_you_mean(str(source), ours)}; {ships}, or a path to a YAML file")
