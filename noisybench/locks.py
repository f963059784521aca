"""Locks on runs: the operating system's, or leases where a file system has none that work.

A lease is a file that names its holder. The holder renews it; one that nobody renewed for long enough is void, and so
is one whose holder is known to be dead. All processes on a store must use the same kind: ``leases.json`` in its lock
folder says that leases it is, and how long they last.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from noisybench.errors import StoreError

MARKER = "leases.json"
POLL_SECONDS = 0.2
_NO_LOCKS = {getattr(errno, name) for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL")}
_observed: dict[Path, tuple[bytes, float]] = {}  # lease -> its content and since when this process has seen it


class LeaseLost(StoreError):
    """Somebody else took the run over because its lease had not been renewed in time."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds between two renewals, and after which an unrenewed lease is void."""

    renew: float = 30.0
    void: float = 300.0


def choose(folder: Path) -> LeaseTimes | None:
    """How the store with this lock folder is locked: None for the operating system's locks, else by leases."""
    marker = folder / MARKER
    if not marker.exists():
        if locks_work(folder):
            return None
        with contextlib.suppress(FileExistsError), marker.open("x") as file:
            file.write(json.dumps(asdict(LeaseTimes())))
    try:
        times = json.loads(marker.read_text())
        return LeaseTimes(float(times["renew"]), float(times["void"]))
    except (ValueError, KeyError, TypeError):
        return LeaseTimes()  # the file counts, whatever became of its content


def locks_work(folder: Path) -> bool:
    """True where an operating system's lock in ``folder`` keeps out a second taker (in this process or another)."""
    path = folder / f"probe.{secrets.token_hex(6)}.lock"
    lock = FileLock(path)
    try:
        with lock:
            if isinstance(lock, SoftFileLock):  # filelock's own fallback, which a dead process may hold for ever
                return False
            second = FileLock(path)
            try:
                second.acquire(timeout=0)
            except Timeout:
                return True
            second.release()
            return _keeps_out_another_process(path)  # locks that belong to a process do not bind the process itself
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise StoreError(f"{folder}: no lock can be made: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _keeps_out_another_process(path: Path) -> bool:
    code = (
        "import sys, filelock\n"
        "try: filelock.FileLock(sys.argv[1]).acquire(timeout=0)\n"
        "except filelock.Timeout: sys.exit(3)\n"
    )
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True).returncode == 3


class Lease:
    """A lock in the manner of ``filelock``: ``with lease.acquire(timeout=0)``; Timeout where somebody else has it."""

    def __init__(self, path: Path, times: LeaseTimes) -> None:
        self.path, self.times = path, times
        self._token: str | None = None
        self._end = threading.Event()

    def acquire(self, timeout: float = -1) -> Lease:
        """Take the lease; wait ``timeout`` seconds for it, for ever when that is negative."""
        started = time.monotonic()
        while not self._claim():
            self._clear_if_void()
            if self._claim():
                break
            if 0 <= timeout <= time.monotonic() - started:
                raise Timeout(str(self.path))
            time.sleep(POLL_SECONDS)
        return self

    def release(self) -> None:
        """Give the lease back; nothing happens where it was lost or not held."""
        self._end.set()
        with contextlib.suppress(OSError):
            if self._mine():
                self.path.unlink()
        self._token = None

    def __enter__(self) -> Lease:
        return self if self._token else self.acquire()

    def __exit__(self, *details: object) -> None:
        self.release()

    def check(self) -> None:
        """LeaseLost where this lease was taken and somebody else has it now."""
        if self._token is None:
            return
        try:
            mine = self._mine()
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if not mine:
            raise LeaseLost(f"{self.path}: not renewed in time; another process has taken over")

    # -- the file ---------------------------------------------------------------------------------------------------

    def _claim(self) -> bool:
        token = secrets.token_hex(8)
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        with os.fdopen(handle, "wb") as file:
            file.write(_content(token, 0))
        self._token, self._end = token, threading.Event()
        threading.Thread(target=self._keep, args=(token, self._end), daemon=True).start()
        return True

    def _keep(self, token: str, end: threading.Event) -> None:
        number = 0
        while not end.wait(self.times.renew):
            number += 1
            try:
                with self.path.open("r+b") as file:
                    if _holder(file.read()).get("token") != token:
                        return
                    file.seek(0)
                    file.write(_content(token, number))
            except FileNotFoundError:
                return
            except OSError:
                continue  # the file system is away: check() will tell, and the next turn tries again

    def _mine(self) -> bool:
        try:
            return self._token is not None and _holder(self.path.read_bytes()).get("token") == self._token
        except FileNotFoundError:
            return False

    def _clear_if_void(self) -> None:
        try:
            content, changed = self.path.read_bytes(), self.path.stat().st_mtime
            if not self._void(content, changed):
                return
            aside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.tmp")
            os.replace(self.path, aside)
            if aside.read_bytes() != content:  # somebody was quicker, and this is their lease: back with it
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self.path)
            aside.unlink()
            _observed.pop(self.path, None)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be taken over: {error.strerror or error}") from error

    def _void(self, content: bytes, changed: float) -> bool:
        """Two clocks, either of which is enough: the file system's own, and for how long this process has seen the
        lease unchanged (which no clock that is set back can delay)."""
        if _is_dead(_holder(content)) or self._now_there() - changed > self.times.void:
            return True
        if self.path not in _observed or _observed[self.path][0] != content:
            _observed[self.path] = content, time.monotonic()
        return time.monotonic() - _observed[self.path][1] > self.times.void

    def _now_there(self) -> float:
        path = self.path.with_name(f".now.{secrets.token_hex(6)}.tmp")
        path.write_bytes(b"x")
        try:
            return path.stat().st_mtime
        finally:
            path.unlink(missing_ok=True)


def is_held(path: Path, times: LeaseTimes | None) -> bool:
    """Whether somebody holds the lock (``times`` None: the system's) or lease in this file, for those who only want to
    know. A lock that nobody holds is taken for a moment; a lease is read, and old by this machine's clock is void."""
    try:
        if times is not None:
            holder, changed = _holder(path.read_bytes()), path.stat().st_mtime
            return not _is_dead(holder) and time.time() - changed <= times.void
        if not path.exists():
            return False
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def this_process() -> dict[str, Any]:
    """What names this process among all: place, number, birth."""
    return {"place": _place(), "pid": os.getpid(), "born": _born(os.getpid())}


def is_alive(holder: Mapping[str, Any]) -> bool | None:
    """Whether a process (as ``this_process`` names it) lives; None where that cannot be asked from here."""
    if holder.get("place") != _place() or sys.platform == "win32" or not isinstance(holder.get("pid"), int):
        return None
    return not _is_dead(holder)


def _content(token: str, number: int) -> bytes:
    """What a lease says; as long with every number, so that it can be rewritten in place."""
    holder = {"token": token, **this_process()}
    return json.dumps(holder | {"renewed": f"{number:012d}"}).encode()


def _holder(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}  # being written; its age decides
    return value if isinstance(value, dict) else {}


def _place() -> list[str]:
    """Host, boot and process namespace: where a process number means something."""
    place = [socket.gethostname()]
    with contextlib.suppress(OSError):
        place += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return place


def _born(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where that cannot be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_dead(holder: Mapping[str, Any]) -> bool:
    if sys.platform == "win32" or not isinstance(holder.get("pid"), int) or holder.get("place") != _place():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return bool(holder.get("born")) and _born(holder["pid"]) != holder["born"]
