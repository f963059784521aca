"""The score files of this package, read lazily and once each."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from noisybench.errors import DataError, InputError
from noisybench.literature.reading import read
from noisybench.literature.schema import Citation, Score, Source, parse_citations, parse_source
from noisybench.registry import did_you_mean

FOLDER = Path(__file__).parent


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
        return _own_source(name)
    return _shipped(name)


@functools.cache
def _shipped(name: str) -> Source:
    known = source_names()
    if name not in known:
        raise InputError(f"no published table '{name}'{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return parse_source(read(FOLDER / f"{name}.yaml", f"{name}.yaml"), name, citations())


def _own_source(file: str) -> Source:
    """A table from a file, which may bring its own ``citations``, each as in ``citations.yaml``."""
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file}: no such file; a published table is a name (list literature) or a YAML file")
    data = read(path, file)
    own: dict[str, Citation] = {}
    try:
        if isinstance(data, dict) and "citations" in data:
            own = parse_citations({"schema": 1, "citations": data.pop("citations")}, file)
        for key in own:
            if own[key] != citations().get(key, own[key]):
                raise DataError(f"{file}: citations: '{key}' is another paper in citations.yaml; choose another key")
        return replace(parse_source(data, path.stem, {**citations(), **own}, file), citations=own)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: is no table of published scores ({type(error).__name__}: {error})") from error


@functools.cache
def citations() -> dict[str, Citation]:
    """All citations by key."""
    return parse_citations(read(FOLDER / "citations.yaml", "citations.yaml"), "citations.yaml")


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
