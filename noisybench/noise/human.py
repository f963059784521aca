"""Human label noise: CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from noisybench.errors import DataError
from noisybench.noise.file import check_clean
from noisybench.noise.injection import labels_sha256
from noisybench.noise.pickles import load_pt
from noisybench.noise.source import Source
from noisybench.registry import PLACE, noise
from noisybench.seeding import Draws

HOME = "https://github.com/UCSC-REAL/cifar-10-100n/raw/49df7d8a69e355470c77c1c2f2424916325a394b/data"


@dataclass(frozen=True)
class HumanFile:
    """One of the authors' files (CC BY-NC 4.0): name, address, SHA-256 of the file and of each label column."""

    name: str
    sha256: str
    columns: dict[str, str]

    @property
    def url(self) -> str:
        """Where the authors publish it, at a commit."""
        return f"{HOME}/{self.name}"


@dataclass(frozen=True)
class LabelSet:
    """A set of human labels: where it is, its number of classes, and the share that is wrong."""

    file: HumanFile
    column: str
    clean: str
    num_classes: int
    wrong: float


CIFAR10N = HumanFile(
    "CIFAR-10_human.pt",
    "873e69c39cb9b5e97fb6bae2d60bb59b38a5cbc31d2b868f7903dcb2b9dd2310",
    {
        "clean_label": "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
        "aggre_label": "b3c3d486d22c3055756e7b1b1a0e98b099c1d68b771633023b0f76fa2e09ede6",
        "random_label1": "b5dc9007ae247a48ce267bec37a1310b0cd65ed73801ca7e595fb954902575a7",
        "random_label2": "1182c45d3a24636640fe1e3743b9566b6fabe86b2ed14f6b8216799e209a0d4e",
        "random_label3": "b51e116c617ded2c98be095ba8b3abae8adfa6caa54f7f6eedf50c7aed013d44",
        "worse_label": "a64d887522cf6d8f4966912a1536ea2d890600929a8465a7f307cdca2501847b",
    },
)
CIFAR100N = HumanFile(
    "CIFAR-100_human.pt",
    "bd2d80409754d420292d622e15e25248ba21e37d27429efac49c8da723f44394",
    {
        "clean_label": "8bf4935e7c77a3096270043c6f3b221b6ecb9c63d1a08608e9af66cff17e977a",
        "noisy_label": "4a1efd5da7a214b299cf6ac0bafe3f0d48c065b7aa2d40aa185d4711714bb311",
        "clean_coarse_label": "9f99c2cdae93cf09da2fc6497c96ab042c6dc02c456a2e86dcffd2305df5a2e9",
        "noisy_coarse_label": "e9bf8a7532d69a39e87e638082366b9466ad36cf76305612532d50fc94123d49",
    },
)
LABEL_SETS = {
    "aggre": LabelSet(CIFAR10N, "aggre_label", "clean_label", 10, 0.0901),
    "rand1": LabelSet(CIFAR10N, "random_label1", "clean_label", 10, 0.17234),
    "rand2": LabelSet(CIFAR10N, "random_label2", "clean_label", 10, 0.18122),
    "rand3": LabelSet(CIFAR10N, "random_label3", "clean_label", 10, 0.1764),
    "worst": LabelSet(CIFAR10N, "worse_label", "clean_label", 10, 0.40208),
    "fine": LabelSet(CIFAR100N, "noisy_label", "clean_label", 100, 0.402),
    "coarse": LabelSet(CIFAR100N, "noisy_coarse_label", "clean_coarse_label", 20, 0.26404),
}


def _wrong(sizes: np.ndarray, *, labels: str, path: str | None) -> float:
    return LABEL_SETS[labels].wrong


def _file(params: Mapping[str, Any]) -> HumanFile | None:
    """The published file that these parameters need, None where the user names one."""
    return LABEL_SETS[params["labels"]].file if params.get("path") is None else None


@noise("human", cite="wei2022cifarn", wrong=_wrong, published=_file)
def human(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    labels: Literal["aggre", "rand1", "rand2", "rand3", "worst", "fine", "coarse"],
    path: Annotated[str | None, PLACE] = None,
) -> np.ndarray:
    """What people said they saw (Wei et al. 2022): the same labels whatever the seed.

    CIFAR-10N: one of three annotators (``rand1`` .. ``rand3``, 17 to 18% wrong), their majority (``aggre``, 9%), or a
    wrong one where there is any (``worst``, 40%). CIFAR-100N: ``fine`` (40% of 100 classes) and ``coarse`` (26% of the
    20 superclasses by the file, 25.6% by the paper; the data set must have these as its classes).

    The authors' file, ``CIFAR-10_human.pt`` or ``CIFAR-100_human.pt``, is looked for in the data folder and downloaded
    there when it is absent; ``path`` names another place, or an ``.npz`` with the same arrays. Its content is pinned by
    SHA-256 and nothing is read that does not match, so its place is no part of a run's identity. The order is
    torchvision's (TFDS has another): the file's clean labels must equal the data set's.
    """
    wanted = LABEL_SETS[labels]
    if num_classes != wanted.num_classes:
        raise DataError(f"human labels '{labels}' have {wanted.num_classes} classes, the data {num_classes}")
    place = source.find(wanted.file.name if path is None else path)
    columns = read_human(place, wanted.file)
    what = f"human labels {place}"
    check_clean(source.rows(columns[wanted.clean], len(clean), what), clean, what)
    return source.rows(columns[wanted.column], len(clean), what).copy()


def read_human(place: Path, file: HumanFile) -> dict[str, np.ndarray]:
    """All label columns of the authors' file, or of an ``.npz`` made of it; DataError unless all hashes match."""
    try:
        content = place.read_bytes()
    except OSError as error:
        remedy = f"{file.name} is published at {file.url}; put it into the data folder or give 'path'"
        raise DataError(f"human labels {place}: {error.strerror or error}; {remedy}") from None
    found = _arrays(place, content, file)
    for column, digest in file.columns.items():
        if column not in found or labels_sha256(_integers(found[column], column, place)) != digest:
            raise DataError(f"human labels {place}: '{column}' is not that of {file.name}; get it from {file.url}")
    return {column: _integers(found[column], column, place) for column in file.columns}


def _arrays(place: Path, content: bytes, file: HumanFile) -> dict[str, Any]:
    if place.suffix == ".npz":
        try:
            with np.load(place, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"human labels {place}: cannot be read: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:  # before anything is unpickled
        raise DataError(
            f"human labels {place}: damaged or another file, SHA-256 {digest[:16]} instead of {file.sha256[:16]}; "
            f"get it from {file.url}"
        )
    return load_pt(content, f"human labels {place}")


def _integers(values: Any, column: str, place: Path) -> np.ndarray:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"human labels {place}: '{column}' must hold whole numbers, not {array.dtype}")
    return array.astype(np.int64)
