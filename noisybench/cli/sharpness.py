"""``noisybench sharpness`` and ``noisybench landscape``: the loss around trained networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from tabulate import tabulate

from noisybench import registry
from noisybench.errors import InputError

console = Console(soft_wrap=True, highlight=False, markup=False)
progress = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def print_sharpness(
    home: Path,
    *,
    rhos: Sequence[float],
    images: int,
    loss: str,
    network: int,
    draws: int,
    probes: int,
    device: str,
    threads: int,
    data_dir: Path | None,
    plugins: Sequence[Path],
) -> None:
    """Measure one run, print a table and write ``sharpness.json`` beside its record."""
    from noisybench.sharpness import measure
    from noisybench.store import json_with_hash, write_atomic

    _check(rhos=rhos, loss=loss)
    run = _load([home], network, device, threads, data_dir, plugins)[0]
    rows = measure(
        run,
        rhos=rhos,
        images=images,
        loss=loss,
        draws=draws,
        probes=probes,
        observe=lambda name: progress.print(f"measuring: {name} ..."),
    )
    console.print(f"{run.run_id}, {'cross entropy' if loss == 'ce' else 'its own loss'}, eval mode, whole weights\n")
    console.print(_table(rows))
    content = {
        "schema": 1,
        "run_id": run.run_id,
        "result_sha256": run.record["result_sha256"],
        "settings": {
            "rhos": list(rhos),
            "images": images,
            "loss": loss,
            "network": network,
            "draws": draws,
            "probes": probes,
            "dtype": str(run.dtype).removeprefix("torch."),
        },
        "sets": [row.as_json() for row in rows],
    }
    path = home / "sharpness.json"
    write_atomic(path, json_with_hash(_plain(content)))
    console.print(f"\nWritten: {path}")


def _table(rows: Sequence[Any]) -> str:
    """One column a set, one line a measure."""
    lines: list[list[str]] = [
        ["images", *(f"{row.images:,}" for row in rows)],
        ["loss", *(f"{row.loss:.4f}" for row in rows)],
        ["gradient norm", *(f"{row.gradient_norm:.4g}" for row in rows)],
    ]
    for number, rho in enumerate(rows[0].rhos):
        lines += [
            [f"loss rise, rho {rho:g}: SAM", *(f"{row.sam[number]:.4g}" for row in rows)],
            ["  adversarial", *(f"{row.adversarial[number]:.4g}" for row in rows)],
            ["  random", *(f"{row.random[number].mean:.3g} ± {row.random[number].error:.1g}" for row in rows)],
        ]
    lines += [
        [
            "largest Hessian eigenvalue",
            *(f"{row.eigenvalue.value:.4g}" + ("" if row.eigenvalue.converged else " (not converged)") for row in rows),
        ],
        ["Hessian trace", *(f"{row.trace.mean:.4g} ± {row.trace.error:.2g}" for row in rows)],
    ]
    headers = ["", *({"train-noisy": "train, noisy", "train-clean": "train, clean"}.get(r.name, r.name) for r in rows)]
    return tabulate(lines, headers=headers, stralign="right", colalign=("left",), disable_numparse=True)


def draw_landscape(
    homes: Sequence[Path],
    *,
    out: Path | None,
    data: str,
    images: int,
    loss: str,
    network: int,
    points: int,
    span: float,
    ceiling: float | None,
    seed: int,
    device: str,
    threads: int,
    data_dir: Path | None,
    plugins: Sequence[Path],
) -> None:
    """Draw the loss surfaces of several runs on one scale; writes an SVG and an npz with the numbers."""
    from noisybench.sharpness import surfaces
    from noisybench.sharpness.figure import draw
    from noisybench.sharpness.trained import SETS
    from noisybench.store import write_arrays, write_atomic

    _check(loss=loss)
    if data not in SETS:
        raise InputError(f"--data {data}: must be one of {', '.join(SETS)}")
    if len({path.resolve() for path in homes}) != len(homes):
        raise InputError("the same run is named twice")
    out = out or (homes[0] if len(homes) == 1 else homes[0].resolve().parent) / "landscape.svg"
    if out.suffix != ".svg" or not out.resolve().parent.is_dir():
        raise InputError(f"--out {out}: must be a file ending in .svg in an existing folder")
    runs = _load(homes, network, device, threads, data_dir, plugins)
    found = surfaces(
        [(run.run_id, run.objective(data, images, loss)) for run in runs],
        points=points,
        span=span,
        seed=seed,
        observe=lambda name: progress.print(f"walking around {name} ..."),
    )
    names = [_short(run) for run in runs]
    title = f"{'cross entropy' if loss == 'ce' else 'own loss'} on {data}, filter-normalised random directions"
    write_arrays(out.with_suffix(".npz"), found.arrays())
    write_atomic(out, draw(found, names, ceiling=ceiling, title=title))
    middle = points // 2
    rows = [
        [run_id, f"{surface[middle, middle]:.4f}", f"{surface.mean():.4f}", f"{surface.max():.4f}"]
        for run_id, surface in zip(found.run_ids, found.values, strict=True)
    ]
    console.print(tabulate(rows, headers=["run", "loss at the weights", "mean", "largest"], disable_numparse=True))
    console.print(f"\nWritten: {out} and {out.with_suffix('.npz')}")


def _short(run: Any) -> str:
    """A panel's title: optimiser, its radius, and the end of the run's id."""
    optimizer = run.record["result"]["spec"]["training"]["optimizer"]
    rho = f", rho {optimizer['rho']:g}" if "rho" in optimizer else ""
    method = run.record["result"]["spec"]["method"]
    parts = [f"{optimizer['name']}{rho}", method["loss"]["name"]]
    if method["algorithm"]["name"] != "erm":
        parts.insert(0, method["algorithm"]["name"])
    return f"{', '.join(parts)}\n{run.run_id[-24:]}"


def _check(*, rhos: Sequence[float] = (), loss: str) -> None:
    if any(not rho > 0 for rho in rhos):
        raise InputError("--rho must be above 0")
    if loss not in ("ce", "own"):
        raise InputError(f"--loss {loss}: must be ce or own")


def _load(
    homes: Sequence[Path],
    network: int,
    device: str,
    threads: int,
    data_dir: Path | None,
    plugins: Sequence[Path],
) -> list[Any]:
    import torch

    from noisybench.data import DataFolder, default_data_dir
    from noisybench.sharpness import load_run
    from noisybench.train.numerics import choose_device

    for plugin in plugins:
        registry.load_plugin(plugin)
    torch.set_num_threads(threads)
    folder = DataFolder(data_dir or default_data_dir(), Path.cwd())
    return [load_run(home, folder, device=choose_device(device), network=network) for home in homes]


def _plain(value: Any) -> Any:
    """Tuples as lists, non-finite numbers as the strings records use."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
