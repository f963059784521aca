"""Data sets, subsets, hold-out, augmentation and the loader. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noisybench.data.dataset import (
    COMMON_KEYS,
    DataFolder,
    Dataset,
    data_id,
    default_data_dir,
    is_available,
    load_dataset,
    prepare,
    split_holdout,
    take_subset,
)

if TYPE_CHECKING:
    from noisybench.data.augment import normalise
    from noisybench.data.loader import Batch, Loader

__all__ = [
    "COMMON_KEYS",
    "Batch",
    "DataFolder",
    "Dataset",
    "Loader",
    "data_id",
    "default_data_dir",
    "is_available",
    "load_dataset",
    "normalise",
    "prepare",
    "split_holdout",
    "take_subset",
]
_HOMES = {"Batch": "loader", "Loader": "loader", "normalise": "augment"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"noisybench.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'noisybench.data' has no attribute '{name}'")
