"""The score files of this package, read lazily and once each."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from noisybench.errors import DataError, InputError
from noisybench.literature.schema import Citation, Score, Source, parse_citations, parse_source
from noisybench.registry import did_you_mean

FOLDER = Path(__file__).parent
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def source_names() -> tuple[str, ...]:
    """Names of all published tables, sorted; reads none of them."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "citations"))


def sources() -> tuple[Source, ...]:
    """All published tables, sorted by name."""
    return tuple(load_source(name) for name in source_names())


def load_source(name: str) -> Source:
    """One published table by name, or one of your own from a file (``my_table.yaml``; see this folder's README.md).

    InputError with "did you mean" when there is none; DataError where a file is not as it should be.
    """
    if name.endswith((".yaml", ".yml")):
        return _own_source(Path(name))
    return _shipped(name)


@functools.cache
def _shipped(name: str) -> Source:
    known = source_names()
    if name not in known:
        raise InputError(f"no published table '{name}'{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return parse_source(_read(FOLDER / f"{name}.yaml"), name, citations())


def _own_source(path: Path) -> Source:
    """A table from a file, which may bring its own ``citations``, each as in ``citations.yaml``."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; a published table is a name (list literature) or a YAML file")
    data = _read(path)
    own: dict[str, Citation] = {}
    if isinstance(data, dict) and "citations" in data:
        own = parse_citations({"schema": 1, "citations": data.pop("citations")}, path.name)
    try:
        return parse_source(data, path.stem, {**citations(), **own})
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no table of published scores ({type(error).__name__}: {error})") from error


@functools.cache
def citations() -> dict[str, Citation]:
    """All citations by key."""
    return parse_citations(_read(FOLDER / "citations.yaml"), "citations.yaml")


def citation(key: str) -> Citation:
    """The citation with this key; InputError with "did you mean" when there is none."""
    if key not in citations():
        raise InputError(f"no citation '{key}'{did_you_mean(key, citations())}")
    return citations()[key]


def scores(
    *,
    source: str | None = None,
    dataset: str | None = None,
    noise: str | None = None,
    rate: float | None = None,
    method: str | None = None,
    verified: bool | None = None,
) -> tuple[Score, ...]:
    """Published scores that fit every filter given; methods are compared without regard to case."""
    names = source_names() if source is None else (source,)
    return tuple(
        score
        for name in names
        for score in load_source(name).scores
        if (dataset is None or score.dataset == dataset)
        and (noise is None or score.noise == noise)
        and (rate is None or abs(score.rate - rate) < 1e-9)
        and (method is None or score.method.casefold() == method.casefold())
        and (verified is None or score.verified == verified)
    )


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a safe loader either way
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error
