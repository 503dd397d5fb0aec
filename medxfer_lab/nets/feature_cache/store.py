"""Arrays on disk under a key: whole or absent, verified when read, bounded in size.

A file is three lines (what it is, its full key, the SHA-256 of the rest), then the order of the
array's axes in memory and the array in numpy's ``.npy`` format, without pickles. Nothing is locked.
A file appears under its name in one step, is only ever replaced by the same content or removed, and
whoever finds it missing computes: processes that share a folder can cost each other time, never a
right answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_MAGIC = b"medxfer_lab features 1\n"
_SUFFIX = ".features"
#: pooled features of 200,000 pictures, or activations at one depth of a few thousand
MAX_BYTES = 1_000_000_000
#: threads of one process would share the name of a temporary file
_writing = threading.Lock()
_said: set[str] = set()


@dataclass(frozen=True)
class CacheEntry:
    """One file: its key, its bytes on disk, when it was last used (ns since 1970)."""

    key: str
    bytes: int
    last_used: int


def default_folder() -> Path:
    """``cache/features`` in the learner's own folder (MEDXFER_HOME)."""
    from medxfer_lab.course.progress import home

    return home() / "cache" / "features"


def say(message: str, once: bool = False) -> None:
    """One printed line, unless MEDXFER_QUIET asks for silence."""
    from medxfer_lab.course.jobfile import is_quiet

    if is_quiet() or (once and message in _said):
        return
    _said.add(message)
    print(message)


class FeatureCache:
    """A folder of arrays by key, at most ``max_bytes`` large: the least recently used go first.

    folder: default :func:`default_folder`; made when first written.
    hits, misses: how often :meth:`get` found something, and did not, through this object.

    The bound holds after every :meth:`put`, over all processes that write with the same bound. A
    folder that cannot be written is reported once; what lies in it is still read.
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}; expected 0 (keep nothing) or more")
        self.folder = default_folder() if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self._writable = True

    def get(self, key: str) -> np.ndarray | None:
        """The array kept under ``key``, or None. A damaged or foreign file is removed."""
        found = self._read(key)
        self.hits += found is not None
        self.misses += found is None
        return found

    def put(self, key: str, array: np.ndarray) -> bool:
        """Keep ``array`` under ``key``; whether it was kept."""
        data = encode(key, array)
        if len(data) > self.max_bytes:
            size, bound = as_text(len(data)), as_text(self.max_bytes)
            say(f"feature cache: an entry of {size} is larger than the bound of {bound}: not kept")
            return False
        if not self._writable:
            return False
        from medxfer_lab.course.atomic import write_atomically

        try:
            with _writing:
                write_atomically(self._path(key), data)
            self._touch(key)
            self._evict(key)
        except OSError as error:
            self._writable = False
            reason = error.strerror or error
            say(f"feature cache: {self.folder} cannot be written ({reason}): going on without it")
            return False
        return True

    def entries(self) -> list[CacheEntry]:
        """What is kept now, the least recently used first."""
        found = []
        with contextlib.suppress(OSError):  # no such folder, or none of ours
            for name in os.listdir(self.folder):
                if name.endswith(_SUFFIX):
                    with contextlib.suppress(OSError):  # evicted by somebody else
                        stat = os.stat(self.folder / name)
                        key = name.removesuffix(_SUFFIX)
                        found.append(CacheEntry(key, stat.st_size, stat.st_mtime_ns))
        return sorted(found, key=lambda entry: (entry.last_used, entry.key))

    def size(self) -> int:
        """Bytes on disk."""
        return sum(entry.bytes for entry in self.entries())

    def clear(self) -> int:
        """Remove all entries and what killed processes left; how many entries went."""
        from medxfer_lab.course.atomic import sweep_leftovers

        gone = sum(self._remove(entry.key) for entry in self.entries())
        sweep_leftovers(self.folder)
        return gone

    def report(self) -> str:
        """One line: entries, size, bound, folder; hits and misses, if this object was asked."""
        entries = self.entries()
        size, bound = as_text(sum(entry.bytes for entry in entries)), as_text(self.max_bytes)
        asked = f"; {self.hits} hits, {self.misses} misses" if self.hits + self.misses else ""
        return (
            f"feature cache: {len(entries)} entries, {size} of at most {bound} in "
            f"{self.folder}{asked}"
        )

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _read(self, key: str) -> np.ndarray | None:
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        try:
            found = decode(key, data)
        except ValueError as error:
            say(f"feature cache: {self._path(key).name} is unusable ({error}): computed again")
            self._remove(key)
            return None
        self._touch(key)
        return found

    def _touch(self, key: str) -> None:
        now = time.time_ns()  # finer than the file system's own clock
        with contextlib.suppress(OSError):
            os.utime(self._path(key), ns=(now, now))

    def _remove(self, key: str) -> bool:
        """Whether it is gone; on Windows a file that somebody reads stays for now."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _evict(self, new: str) -> None:
        """Remove the least recently used until the bound holds, but not what was just written."""
        from medxfer_lab.course.atomic import sweep_leftovers

        sweep_leftovers(self.folder)
        entries = self.entries()
        size = sum(entry.bytes for entry in entries)
        for entry in entries:
            if size <= self.max_bytes:
                return
            if entry.key != new and self._remove(entry.key):
                size -= entry.bytes


def encode(key: str, array: np.ndarray) -> bytes:
    """The content of a file; every byte of it is either compared or under the checksum."""
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    buffer = io.BytesIO()
    buffer.write(f"{' '.join(map(str, axes))}\n".encode())
    np.lib.format.write_array(buffer, array.transpose(axes), allow_pickle=False)
    content = buffer.getvalue()
    checksum = hashlib.sha256(content).hexdigest()
    return _MAGIC + f"{key}\n{checksum}\n".encode() + content


def decode(key: str, data: bytes) -> np.ndarray:
    """The array in a file's content; ValueError where it is not the one of ``key``, whole."""
    first, _, rest = data.partition(b"\n")
    if first + b"\n" != _MAGIC:
        raise ValueError("not a file of features")
    found, _, rest = rest.partition(b"\n")
    if found != key.encode():
        raise ValueError("it belongs to another key")
    checksum, _, content = rest.partition(b"\n")
    if checksum != hashlib.sha256(content).hexdigest().encode():
        raise ValueError("its checksum does not match: cut short, or changed")
    buffer = io.BytesIO(content)
    axes = [int(axis) for axis in buffer.readline().split()]
    array = np.lib.format.read_array(buffer, allow_pickle=False)
    return array.transpose(np.argsort(axes)) if axes else array


def as_text(n_bytes: int) -> str:
    """1,536,000 -> ``"1.5 MB"``: powers of a thousand, as disks are sold."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{n_bytes} B" if unit == "B" else f"{value:.1f} {unit}"
