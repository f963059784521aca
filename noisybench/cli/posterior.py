"""``noisybench posterior``: the file that PMD noise reads."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from noisybench import registry
from noisybench.errors import DataError, InputError

console = Console(soft_wrap=True, highlight=False, markup=False)


def write_posterior(
    dataset: str,
    out: Path,
    *,
    model: str,
    epochs: int,
    lr: float,
    batch_size: int,
    share: float,
    seed: int,
    device: str,
    threads: int,
    data_dir: Path | None,
    plugins: Sequence[Path],
) -> None:
    """Write ``.npz`` with ``eta`` float32 ``[N, K]``, ``labels``, ``trained`` and ``meta`` (a JSON string)."""
    import numpy as np
    import torch

    from noisybench.cli.inject import parsed
    from noisybench.data import DataFolder, default_data_dir, prepare
    from noisybench.store import write_arrays
    from noisybench.suite import resolve_dataset
    from noisybench.train.numerics import choose_device
    from noisybench.train.posterior import record_posterior

    for plugin in plugins:
        registry.load_plugin(plugin)
    network = parsed(model, "--model")
    network = {"name": network} if isinstance(network, str) else network
    if not isinstance(network, dict) or not isinstance(network.get("name"), str):
        raise InputError(f"--model {model}: must be a name or a mapping with 'name'")
    params = registry.get("model", network["name"]).validate({k: v for k, v in network.items() if k != "name"})
    network = {"name": network["name"], **params}
    if out.suffix.lower() != ".npz" or out.is_dir() or not out.resolve().parent.is_dir():
        raise InputError(f"--out {out}: must be an .npz file in an existing folder")
    if not math.isfinite(lr) or lr <= 0:
        raise InputError(f"--lr {lr}: must be above 0")
    block = resolve_dataset(parsed(dataset, "--dataset"))
    place = choose_device(device)
    torch.set_num_threads(threads)
    data = prepare(block, DataFolder(data_dir or default_data_dir(), Path.cwd()))
    found = record_posterior(
        data,
        network,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        share=share,
        seed=seed,
        device=place,
        observe=lambda epoch, loss: console.print(f"epoch {epoch + 1} of {epochs}: loss {loss:.4f}"),
    )
    if not np.isfinite(found.eta).all():
        raise DataError("training diverged, so there is no posterior; choose a lower --lr")
    two = np.sort(found.eta, axis=1)[:, -2:]
    margin = float((two[:, 1] - two[:, 0]).mean())
    meta = {
        "schema": 1,
        "dataset": {key: value for key, value in block.items() if key not in ("path", "validation")},
        "fingerprint": data.fingerprint,
        "class_names": list(data.class_names),
        "model": network,
        "training": {"epochs": epochs, "lr": lr, "batch_size": batch_size, "share": share, "seed": seed},
        "accuracy": found.accuracy,
        "mean_margin": margin,
    }
    arrays = {"eta": found.eta, "labels": data.train_labels, "trained": found.trained}
    write_arrays(out, {**arrays, "meta": np.array(json.dumps(meta, sort_keys=True))})
    console.print(
        f"{data.id}: posterior of {len(found.eta):,} images, {100 * found.accuracy:.1f} % of those trained on are "
        f"classed as labelled, mean margin {margin:.3f}."
    )
    console.print(f"Written: {out}")
