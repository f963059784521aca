"""Any data set in one ``.npz`` file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from noisybench.data.dataset import DataFolder, Dataset, data_id, require_all_classes
from noisybench.errors import DataError
from noisybench.registry import PLACE, dataset

KEYS = ("x_train", "y_train", "x_test", "y_test")


def _available(folder: DataFolder, params: Mapping[str, Any]) -> bool:
    return any(place.is_file() for place in folder.places(params["path"]))


@dataset("npz", available=_available)
def npz(
    folder: DataFolder,
    *,
    path: Annotated[str, PLACE],
    id: str | None = None,
    as_: Annotated[str | None, PLACE] = None,
    layout: Literal["auto", "nhwc", "nchw"] = "auto",
) -> Dataset:
    """Arrays ``x_train y_train x_test y_test`` of one ``.npz`` file, and ``class_names`` if it has them.

    Images are uint8 ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``. ``layout: auto`` takes four axes as NHWC if
    the last one is 1 or 3, otherwise as NCHW if the second is; say ``nhwc`` or ``nchw`` for anything else. Labels
    are 1-D integers 0 .. K-1 with every class in both parts. Nothing is unpickled. ``path`` is relative to the suite
    file, then to the data folder; ``id`` (default: the file's stem) names the data in results; ``as: cifar10`` says
    beside which published scores they may stand.
    """
    file = folder.resolve(path)
    arrays = _read(file)
    for key in KEYS:
        if key not in arrays:
            raise DataError(f"{file} has no array '{key}'; it needs {', '.join(KEYS)} and has {', '.join(arrays)}")
    y_train, y_test = _labels(arrays, "y_train", file), _labels(arrays, "y_test", file)
    if "class_names" in arrays:
        names = tuple(str(name) for name in arrays["class_names"].reshape(-1))
    else:
        names = tuple(str(c) for c in range(int(y_train.max(initial=0)) + 1))
    return require_all_classes(
        Dataset(
            name="npz",
            id=data_id({"name": "npz", "id": id, "path": path}),
            train_images=_images(arrays, "x_train", layout, file),
            train_labels=y_train,
            test_images=_images(arrays, "x_test", layout, file),
            test_labels=y_test,
            class_names=names,
            comparable_as=as_,
        )
    )


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{file} is not an .npz file, or it is cut off; write it with numpy.savez")
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key in (*KEYS, "class_names")} or dict.fromkeys(
                archive.files, np.empty(0)
            )
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ValueError) and "pickle" in str(error):
            raise DataError(f"{file} holds Python objects, which are never loaded; save plain arrays") from error
        raise DataError(f"{file} cannot be read ({error}); write it again with numpy.savez") from error


def _images(arrays: Mapping[str, np.ndarray], key: str, layout: str, file: Path) -> np.ndarray:
    images = arrays[key]
    if images.dtype != np.uint8:
        raise DataError(f"{file}: {key} must be uint8 with values 0 .. 255, not {images.dtype}")
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None])
    if images.ndim != 4:
        raise DataError(f"{file}: {key} must be [N, H, W], [N, H, W, C] or [N, C, H, W], not {list(images.shape)}")
    if layout == "auto":
        if images.shape[3] in (1, 3):
            layout = "nhwc"
        elif images.shape[1] in (1, 3):
            layout = "nchw"
        else:
            raise DataError(
                f"{file}: {key} {list(images.shape)} has 1 or 3 channels neither last nor second; "
                f"say 'layout: nhwc' or 'layout: nchw'"
            )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if layout == "nhwc" else images)


def _labels(arrays: Mapping[str, np.ndarray], key: str, file: Path) -> np.ndarray:
    labels = arrays[key]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{file}: {key} must be a 1-D array of integers, not {labels.dtype} {list(labels.shape)}"
            + ("; ravel it" if labels.ndim == 2 and labels.shape[1] == 1 else "")
        )
    return labels.astype(np.int64)
