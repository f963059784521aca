"""What the tests of trainer, store and executors share."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisybench.data import DataFolder
from noisybench.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs" / "study")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data", None)
