"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: str | Path, data: bytes | str) -> Path:
    """Write ``data`` to ``path`` so that a reader, or a kill, never meets half a file.

    The bytes go to a hidden temporary file beside the target, reach the disk, and take the
    target's name in one step. If writing fails, the temporary file is removed and the old
    content stays. Folders are made as needed. Text is UTF-8.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def sweep_leftovers(folder: str | Path) -> int:
    """Remove temporary files that a killed process left in ``folder``; return how many.

    The process id is part of the name, so files of a process that still runs are kept.
    """
    removed = 0
    for temporary in Path(folder).glob(".*.tmp"):
        pid = temporary.name.split(".")[-2]
        if pid.isdigit() and not _is_running(int(pid)):
            temporary.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # on Windows a signal of 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
