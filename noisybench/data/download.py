"""Published files: fetched once into the data folder, and thrown away unless their pinned SHA-256 matches."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisybench.data.dataset import DataFolder
from noisybench.errors import DataError

TIMEOUT = 60  # seconds without a byte
LOCK_TIMEOUT = 3600  # seconds to wait for another process that is downloading


@dataclass(frozen=True)
class Published:
    """A file somebody publishes: what we call it, where it is, its name, its SHA-256."""

    name: str
    url: str
    filename: str
    sha256: str

    def missing(self, folder: DataFolder) -> str:
        """What to do without it."""
        return f"put {self.filename} (from {self.url}) at {folder.path / self.filename}, or choose another --data-dir"


def what_it_is(content: bytes) -> str:
    """What bytes with a wrong hash probably are."""
    if content[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page: a proxy or a login page answered instead of the server"
    return "its SHA-256 differs: damaged, incomplete or another file"


def download(published: Published, folder: DataFolder) -> None:
    """Fetch a published file into the data folder: one process at a time, checked, then renamed into place."""
    import filelock

    target = folder.path / published.filename
    if not folder.download:
        raise DataError(f"{published.name} is not there and downloads are off: {published.missing(folder)}")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(str(folder.path / f".{published.filename}.lock"), timeout=LOCK_TIMEOUT):
            if target.is_file():  # another process was faster
                return
            handle, temporary = tempfile.mkstemp(dir=folder.path, prefix=f".{published.filename}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    _fetch(published, folder, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                os.replace(temporary, target)
            finally:
                Path(temporary).unlink(missing_ok=True)
    except filelock.Timeout as error:
        raise DataError(f"another process has been downloading {published.filename} for an hour; try again") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"cannot write to the data folder {folder.path} ({reason}); choose another --data-dir"
        ) from error


def _fetch(published: Published, folder: DataFolder, file: Any) -> None:
    digest, first = hashlib.sha256(), b""
    try:
        with urllib.request.urlopen(published.url, timeout=TIMEOUT) as response:
            while chunk := response.read(1 << 20):
                first = first or chunk
                digest.update(chunk)
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{published.name} cannot be downloaded ({reason}): {published.missing(folder)}") from error
    if digest.hexdigest() != published.sha256:
        raise DataError(f"what {published.url} sent was thrown away ({what_it_is(first)}): {published.missing(folder)}")
