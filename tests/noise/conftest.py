"""Small files and images, so that every kind of noise can be tried on the same 1,000 labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from noisybench.noise import human
from noisybench.noise.injection import labels_sha256

CLEAN = np.repeat(np.arange(10), 100)
MATRIX = (0.7 * np.eye(10) + 0.3 * np.roll(np.eye(10), 3, axis=1)).tolist()
STEPS = [{"kind": "asymmetric", "rate": 0.4}, {"kind": "symmetric", "rate": 0.2}]


@pytest.fixture(scope="session")
def label_folder(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a label file, a posterior and a made-up file of human labels for ``CLEAN``."""
    folder = tmp_path_factory.mktemp("labels")
    noisy = CLEAN.copy()
    noisy[::4] = (noisy[::4] + 1) % 10
    np.savez(folder / "labels.npz", labels=noisy, clean=CLEAN)
    eta = 0.01 + 0.05 * np.random.default_rng(0).random((1000, 10))
    eta[np.arange(1000), CLEAN] += np.random.default_rng(1).random(1000)
    np.savez(folder / "eta.npz", eta=eta / eta.sum(axis=1, keepdims=True))
    np.savez(folder / "human.npz", clean_label=CLEAN, aggre_label=noisy)
    return folder


@pytest.fixture
def made_human(label_folder, monkeypatch: pytest.MonkeyPatch):
    """``human, labels: aggre`` reads the made-up file instead of the authors'."""
    with np.load(label_folder / "human.npz") as archive:
        columns = {name: labels_sha256(archive[name]) for name in archive.files}
    made = human.HumanFile("human.npz", "", columns)
    monkeypatch.setitem(human.LABEL_SETS, "aggre", human.LabelSet(made, "aggre_label", "clean_label", 10, 0.25))
    return made


@pytest.fixture
def arguments_of(label_folder, made_human) -> Callable[..., dict[str, Any]]:
    """What ``inject`` needs to try a kind on ``CLEAN`` or another array of as many labels."""
    images = np.random.default_rng(2).integers(0, 256, (1000, 3, 4, 4), dtype=np.uint8)
    examples: dict[str, dict[str, Any]] = {
        "clean": {},
        "matrix": {"matrix": MATRIX},
        "block": {"rate": 0.4, "groups": [[0, 1, 2], [3, 4], [5, 6, 7, 8]]},
        "instance": {"rate": 0.4, "images": images},
        "pmd": {"path": str(label_folder / "eta.npz")},
        "human": {"labels": "aggre", "folder": label_folder},
        "file": {"path": str(label_folder / "labels.npz")},
        "compose": {"steps": STEPS},
    }

    def arguments(kind: str, **more: Any) -> dict[str, Any]:
        return {**examples.get(kind, {"rate": 0.4}), **more}

    return arguments
