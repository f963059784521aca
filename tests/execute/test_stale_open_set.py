"""Images of another data set belong to a run as its own data do: changed ones make its record stale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import small_spec

from noisybench.data import DataFolder
from noisybench.errors import StaleData
from noisybench.execute.study import open_set_prints, take_stock
from noisybench.store import Store
from noisybench.train.kept import _others
from noisybench.train.trainer import train


def write_others(path: Path, value: int) -> None:
    images, labels = np.full((20, 8, 8), value, np.uint8), np.arange(20) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    _others.clear()  # another process would not know the old ones


def test_other_open_set_images_stop_everything(store: Store, folder: DataFolder, tmp_path: Path) -> None:
    path = tmp_path / "others.npz"
    write_others(path, 10)
    others = {"name": "npz", "path": str(path)}
    spec = small_spec({"noise.open_set": {"rate": 0.3, "from": others}, "training.epochs": 1})
    assert open_set_prints(store, [spec], folder) == {}  # nothing is settled yet
    train(spec, store, folder)
    prints = open_set_prints(store, [spec], folder)
    assert list(take_stock(store, [spec], prints).settled) == [spec.run_id]
    write_others(path, 11)
    prints = open_set_prints(store, [spec], folder)
    with pytest.raises(StaleData, match="--replace-stale"):
        take_stock(store, [spec], prints)
    assert take_stock(store, [spec], prints, replace_stale=True).todo == [spec]
    assert (store.root / f"{spec.run_id}.stale").is_dir()
