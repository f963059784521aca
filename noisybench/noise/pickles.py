"""The ``.pt`` files of CIFAR-10N and CIFAR-100N: a zip archive with a pickled dict of numpy arrays and lists.

A pickle can run any program. This one is read by an unpickler that knows four names and nothing else, without torch.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from noisybench.errors import DataError

DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same labels


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Knows ``numpy.ndarray``, ``numpy.dtype``, numpy's ``_reconstruct`` and ``_codecs.encode``."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.ndarray(0).__reduce__()[0]
        allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _latin1}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain numpy arrays are read")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it holds torch tensors, and only plain numpy arrays are read")


def load_pt(content: bytes, name: str) -> dict[str, Any]:
    """The dict in the bytes of a ``.pt`` file; DataError naming ``name`` if it holds anything but arrays and lists."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.namelist() if member.endswith("/data.pkl")]
            found = _Unpickler(io.BytesIO(archive.read(members[0]))).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{name}: cannot be read: {error or type(error).__name__}") from error
    if not isinstance(found, dict):
        raise DataError(f"{name}: must hold a dict of labels, not {type(found).__name__}")
    return found


def dump_pt(labels: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write label arrays as CIFAR-N's files hold them; ``torch.load`` reads it."""
    pickled = pickle.dumps({name: np.ascontiguousarray(array) for name, array in labels.items()}, protocol=2)
    pickled = pickled.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)  # known to numpy 1, too
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("data.pkl", pickled), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", DATE), content)
