"""Small archives built like CIFAR's, under their own sums."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import tarfile

import numpy as np

from noisybench.data import cifar as module


def batch(n: int, start: int, key: str) -> bytes:
    """A batch as the originals are: what Python 2 pickles (protocol 2, byte strings) of a dictionary with ``data``, a
    uint8 array of n rows of 3072 bytes (red, green, blue planes), and a list of labels."""
    rows = (np.arange(n * 3072).reshape(n, 3072) + start).astype(np.uint8).tobytes()
    text = lambda s: b"U" + bytes([len(s)]) + s.encode()  # noqa: E731
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text("u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text("|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    content = b"T" + len(rows).to_bytes(4, "little") + rows
    state = b"(K\x01K" + bytes([n]) + b"M\x00\x0c\x86" + dtype + b"\x89" + content + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([(start + i) % 10]) for i in range(n)) + b"e"
    return b"\x80\x02}(" + text("data") + array + state + text(key) + labels + b"u."


def stand_in(original: module.Archive, tmp_path, files: dict[str, bytes] | None = None) -> tuple[module.Archive, bytes]:
    if files is None:
        files = {name: batch(4, i, original.labels_key) for i, name in enumerate((*original.train, original.test))}
        files[original.meta] = pickle.dumps({original.names_key: [f"class {c}" for c in range(10)]}, protocol=2)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{original.folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    served = tmp_path / "served" / original.filename
    served.parent.mkdir(exist_ok=True)
    served.write_bytes(buffer.getvalue())
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    archive = dataclasses.replace(original, url=served.as_uri(), sha256=sha256, md5=md5)
    return archive, buffer.getvalue()
