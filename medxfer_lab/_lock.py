"""One process at a time: a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class Busy(RuntimeError):
    """Another process holds the lock."""


@contextlib.contextmanager
def only_one(path: str | os.PathLike) -> Iterator[None]:
    """Hold the lock file ``path``; :class:`Busy` at once where somebody else holds it.

    The operating system lets go of it when the holder dies, so a killed process blocks nobody. The
    file is removed on leaving. Where the file system knows no locks, nobody is kept out.
    """
    path = Path(path)
    while True:
        file = open(path, "ab")
        try:
            _lock(file)
        except BlockingIOError:
            file.close()
            raise Busy(str(path)) from None
        # whoever held it before may have removed this very file between our open and our lock
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            break
        file.close()
    try:
        yield
    finally:
        if os.name != "nt":  # an open file cannot be removed on Windows
            path.unlink(missing_ok=True)
        file.close()
        if os.name == "nt":
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> None:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return
