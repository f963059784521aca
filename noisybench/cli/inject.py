"""``noisybench inject``: noisy labels in a file, with everything needed to check them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from tabulate import tabulate

from noisybench import registry
from noisybench.cli.literature import rate_error
from noisybench.errors import InputError

if TYPE_CHECKING:
    from noisybench.data import DataFolder
    from noisybench.noise import NoisyLabels

console = Console(soft_wrap=True, highlight=False, markup=False)
PLOTS = (".svg", ".png")
WIDE = 20
"""Matrices with more classes than this are shown as a list of what each class is mistaken for."""


def inject_labels(
    dataset: str,
    kind: str,
    out: Path,
    *,
    rate: float | None,
    seed: int,
    sets: Sequence[str],
    show: bool,
    plot: Path | None,
    overwrite: bool,
    data_dir: Path | None,
    plugins: Sequence[Path],
) -> None:
    """Corrupt the training labels of a data set; write them in the format of ``out``'s suffix, a sidecar, a plot."""
    from noisybench.data import DataFolder, default_data_dir, prepare
    from noisybench.noise import inject, write_labels
    from noisybench.noise.files import FORMATS
    from noisybench.noise.heat_map import heat_map
    from noisybench.store import write_atomic
    from noisybench.suite import resolve_dataset

    for plugin in plugins:
        registry.load_plugin(plugin)
    registry.get("noise", kind)  # everything a user can get wrong is looked at before any data is read
    if rate is not None and not 0 <= rate <= 1:
        raise InputError(rate_error(rate))
    params: dict[str, Any] = {} if rate is None else {"rate": rate}
    for key, value in (_assignment(text) for text in sets):
        if key in params:
            raise InputError(f"--set {key}={value}: '{key}' is given twice")
        params[key] = value
    checked = registry.get("noise", kind).validate(params)
    block = resolve_dataset(parsed(dataset, "--dataset"))
    folder = data_dir or default_data_dir()
    place = DataFolder(folder, Path.cwd())
    named = [*_files_named({"kind": kind, **checked}), *_files_named(block)]
    for path, what in _targets(out, plot, FORMATS):
        _check_target(path, what, overwrite)
        _check_is_no_source(path, what, named, place)
    data = prepare(block, place)
    if registry.get("noise", kind).traits.get("published"):
        from noisybench.train.setup import fetch_noise_files

        fetch_noise_files({"kind": kind, **checked}, place)
    noisy = inject(
        data.train_labels,
        kind,
        num_classes=data.num_classes,
        seed=seed,
        images=data.train_images,
        index=data.train_index,
        folder=folder,
        **params,
    )
    picture = None
    if plot is not None:  # drawn before anything is written, so that nothing is half written
        title = f"{data.id}, {kind}: {noisy.realised_rate:.2%} wrong"
        picture = heat_map(noisy.transition, data.class_names, title=title, form=plot.suffix[1:].lower())
    sidecar = write_labels(noisy, out, about=_about(data, block))
    console.print(_summary(noisy, data.id))
    if show:
        console.print(f"\n{matrix_table(noisy, data.class_names)}\n")
    console.print(f"Written: {out} and {sidecar}")
    if plot is not None and picture is not None:
        write_atomic(plot, picture)
        console.print(f"Written: {plot}")


def matrix_table(noisy: NoisyLabels, names: Sequence[str]) -> str:
    """The measured matrix with class names: percent of each true class (row) by label (column).

    With more than 20 classes, one line a class: its size, what is kept, and the three labels it most often gets.
    """
    import numpy as np

    sizes = np.bincount(noisy.clean, minlength=len(names))
    if len(names) <= WIDE:
        heads = ["true class", *(name[:10] for name in names)]
        rows = [
            [name, *(f"{100 * share:.1f}" if share else "." for share in row)]
            for name, row in zip(names, noisy.transition, strict=True)
        ]
        table = tabulate(rows, headers=heads, stralign="right", disable_numparse=True)
        return f"Measured transition, percent of each true class (row) by label (column):\n{table}"
    rows = []
    for c, row in enumerate(noisy.transition):
        others = [j for j in np.argsort(-row, kind="stable")[:4] if j != c and row[j] > 0][:3]
        mistaken = ", ".join(f"{names[j]} {100 * row[j]:.1f}" for j in others)
        rows.append([names[c], f"{sizes[c]:,}", f"{100 * row[c]:.1f}", mistaken])
    heads = ["true class", "images", "kept %", "most often labelled instead, %"]
    return tabulate(rows, headers=heads, colalign=("left", "right", "right", "left"), disable_numparse=True)


def _summary(noisy: NoisyLabels, name: str) -> str:
    import numpy as np

    from noisybench.noise import expected_rate

    wrong = int(noisy.flipped.sum())
    sizes = np.bincount(noisy.clean, minlength=noisy.num_classes)
    expected = expected_rate(noisy.kind, noisy.params, noisy.num_classes, sizes)
    facts = [] if noisy.rate is None else [f"requested {noisy.rate:.2%}"]
    facts += [] if expected is None else [f"expected wrong {expected:.2%}"]
    facts += [f"{key} {noisy.params[key]}" for key in ("flip", "count") if key in noisy.params]
    lines = [
        f"{name}: {wrong:,} of {len(noisy.labels):,} labels are wrong ({noisy.realised_rate:.2%}).",
        f"{noisy.kind}, {', '.join([*facts, f'seed {noisy.seed}'])}; SHA-256 of the labels {noisy.sha256[:16]}.",
    ]
    return "\n".join(lines)


def _about(data: Any, block: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in block.items() if key not in ("path", "validation")}
    return {"id": data.id, "dataset": kept, "fingerprint": data.fingerprint, "class_names": list(data.class_names)}


def _targets(out: Path, plot: Path | None, formats: Sequence[str]) -> list[tuple[Path, str]]:
    """Every file that is written, and what errors call it."""
    from noisybench.noise.files import sidecar_of

    for path, option, suffixes in ((out, "--out", formats), (plot, "--plot", PLOTS)):
        if path is not None and path.suffix.lower() not in suffixes:
            raise InputError(f"{option} {path}: must end in {', '.join(suffixes)}")
    sidecar = sidecar_of(out)
    found = [(out, f"--out {out}:"), (sidecar, f"--out {out}: its sidecar {sidecar}")]
    return found if plot is None else [*found, (plot, f"--plot {plot}:")]


def _check_target(path: Path, what: str, overwrite: bool) -> None:
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise InputError(f"{what} not a file in an existing folder")
    if path.exists() and not overwrite:
        raise InputError(f"{what} is there already; use another name, or --overwrite")


def _files_named(value: Any) -> Iterator[str]:
    """Every text in a block, at any depth: any may name a file. And the published file that a noise in it reads."""
    if isinstance(value, (str, Path)):
        yield str(value)
    elif isinstance(value, Mapping):
        if value.get("kind") in registry.names("noise"):
            published = registry.get("noise", value["kind"]).traits.get("published")
            file = published(value) if published is not None else None
            yield from () if file is None else (file.name,)
        for item in value.values():
            yield from _files_named(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _files_named(item)


def _check_is_no_source(path: Path, what: str, named: Iterable[str], place: DataFolder) -> None:
    """InputError where a file to be written is one that is read: images, labels, a matrix, a posterior."""
    if path.exists() and any(_is_read(path, text, place) for text in named):
        raise InputError(f"{what} is read by this command; use another name")


def _is_read(path: Path, text: str, place: DataFolder) -> bool:
    """True where ``text`` names the file ``path``, or an image folder that it is an image of."""
    from noisybench.data.imagefolder import SUFFIXES

    try:
        for where in place.places(text):
            images = {(where / part).resolve() for part in ("train", "test")}
            if where.is_file() and where.samefile(path):
                return True
            if path.suffix.lower() in SUFFIXES and not images.isdisjoint(path.resolve().parents):
                return True
    except (OSError, RuntimeError):  # a text that can't be a file's name: too long, or ~ and no user
        return False
    return False


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set {text}: must be KEY=VALUE")
    return key, parsed(value, f"--set {text}")


def parsed(text: str, where: str) -> Any:
    """A YAML value from the command line; InputError naming the option otherwise."""
    from noisybench.suite import parse_value

    try:
        return parse_value(text)
    except (yaml.YAMLError, InputError) as error:
        raise InputError(f"{where}: not a YAML value: {text}") from error
