"""Any data set as folders of image files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from noisybench.data.dataset import DataFolder, Dataset, data_id
from noisybench.errors import DataError
from noisybench.registry import PLACE, dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
GREY = ("1", "L")


def _available(folder: DataFolder, params: Mapping[str, Any]) -> bool:
    return any((place / "train").is_dir() for place in folder.places(params["path"]))


@dataset("imagefolder", available=_available)
def imagefolder(
    folder: DataFolder,
    *,
    path: Annotated[str, PLACE],
    id: str | None = None,
    as_: Annotated[str | None, PLACE] = None,
    size: Annotated[int, Field(ge=1)] | None = None,
) -> Dataset:
    """Image files ``train/<class>/*`` and ``test/<class>/*``; classes and files in alphabetical order.

    Files are told by their suffix (png, jpg, bmp, gif, ppm, tif, webp); anything else is left out. Images become RGB,
    or grey if every one of them is. All must have one size, unless ``size`` resizes them to size x size (bilinear).
    ``path`` is relative to the suite file, then to the data folder; ``id`` (default: the folder's stem) names the
    data in results; ``as: cifar10`` says beside which published scores they may stand.
    """
    root = folder.resolve(path)
    names = _classes(root / "train")
    found = _classes(root / "test")
    if found != names:
        odd = sorted(set(names) ^ set(found))[0]
        here, there = ("train", "test") if odd in names else ("test", "train")
        raise DataError(f"{root}: class '{odd}' is in {here}/ but not in {there}/")
    train, train_labels = _images(root / "train", names, size)
    test, test_labels = _images(root / "test", names, size)
    grey = all(image.ndim == 2 for image in (*train, *test))
    return Dataset(
        name="imagefolder",
        id=data_id({"name": "imagefolder", "id": id, "path": path}),
        train_images=_stack(train, grey),
        train_labels=train_labels,
        test_images=_stack(test, grey),
        test_labels=test_labels,
        class_names=tuple(names),
        comparable_as=as_,
    )


def _classes(part: Path) -> list[str]:
    if not part.is_dir():
        raise DataError(f"{part} does not exist; an image folder holds train/<class>/ and test/<class>/")
    names = sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{part} holds no class folders")
    return names


def _images(part: Path, names: list[str], size: int | None) -> tuple[list[np.ndarray], np.ndarray]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = sorted(file for file in (part / name).iterdir() if file.suffix.lower() in SUFFIXES)
        files = [file for file in files if not file.name.startswith(".")]
        if not files:
            raise DataError(f"{part / name} holds no images ({', '.join(SUFFIXES)})")
        for file in files:
            image = _decode(file, size)
            if images and image.shape[:2] != images[0].shape[:2]:
                raise DataError(
                    f"{file} is {image.shape[1]}x{image.shape[0]}, others are {images[0].shape[1]}x"
                    f"{images[0].shape[0]}; give 'size' to resize them"
                )
            images.append(image)
        labels += [label] * len(files)
    return images, np.array(labels, dtype=np.int64)


def _decode(file: Path, size: int | None) -> np.ndarray:
    """Grey ``[H, W]`` or RGB ``[H, W, 3]``, uint8."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise DataError(f"{file} has more than 8 bits a channel; convert it first")
            image = opened.convert("L" if opened.mode in GREY else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be decoded: {error}") from error
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def _stack(images: list[np.ndarray], grey: bool) -> np.ndarray:
    if grey:
        return np.stack(images)[:, None]
    colour = [np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image for image in images]
    return np.ascontiguousarray(np.stack(colour).transpose(0, 3, 1, 2))
