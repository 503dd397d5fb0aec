"""Fetching a file from elsewhere: whole and checked, or not at all.

What has come so far lies in a hidden file beside the target and is taken up again next time (HTTP
Range, RFC 9110, section 14). Only a file with the right digest gets the target's name.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from medxfer_lab._lock import Busy, only_one
from medxfer_lab._version import __version__

CHUNK = 1 << 18
RESERVE = 64 << 20  # bytes of the disk that a download leaves free
SLOWEST = 1024  # bytes within one time-out: less counts as a stall
SCHEMES = ("https", "http", "file")
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(ValueError):
    """A file could not be fetched; the message says why and what to do."""


class _Trouble(Exception):
    """One attempt at one address failed. again: whether the same address may yet succeed."""

    def __init__(self, reason: str, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class Remote:
    """A file and where it can be had.

    name: file name it gets here. urls: tried in this order. digest: hexadecimal, of ``algorithm``
    ("md5", "sha256"). most_bytes: no honest copy is longer.
    """

    name: str
    urls: tuple[str, ...]
    digest: str
    algorithm: str
    most_bytes: int

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name[:1] in ("", "."):
            raise ValueError(f"name is {self.name!r}; expected a plain file name")
        for url in self.urls:
            if urlsplit(url).scheme not in SCHEMES:
                raise DownloadError(
                    f"the address {url!r} cannot be used; expected one that begins with "
                    f"{', '.join(s + '://' for s in SCHEMES)}"
                )


def digest_of(path: str | os.PathLike, algorithm: str) -> str:
    """Hexadecimal digest of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def download(
    remote: Remote,
    folder: str | os.PathLike,
    timeout: float = 60.0,
    attempts: int = 3,
    pause: float = 2.0,
    report: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Get ``remote`` into ``folder`` and return its path; a right copy that is there is kept.

    timeout: seconds without at least 1 KiB before an attempt is given up. attempts: per address,
    with a pause of ``pause``, 2 ``pause``, ... seconds between them. report: called with (bytes so
    far, bytes in all or None).

    Raises :class:`DownloadError`. After an interruption the part that came is kept, hidden, for the
    next call; after a wrong digest, a file too long, or a full disk nothing is kept.
    """
    folder = Path(folder)
    target, part = folder / remote.name, folder / f".{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / f".{remote.name}.lock"):
            if _is_there(target, remote):
                part.unlink(missing_ok=True)
                return target
            _fill(part, remote, timeout, attempts, pause, report or (lambda done, total: None))
            os.replace(part, target)
    except Busy:
        raise DownloadError(
            f"another process is fetching {remote.name} into {folder}: wait for it to finish"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            part.unlink(missing_ok=True)
            raise DownloadError(
                f"the disk of {folder} is full; nothing of {remote.name} was kept: make room, or "
                "name another folder"
            ) from None
        raise DownloadError(
            f"{folder} cannot be written to ({error.strerror or error}): name another folder"
        ) from None
    return target


def _is_there(target: Path, remote: Remote) -> bool:
    if not target.exists():
        return False
    found = digest_of(target, remote.algorithm)
    if found != remote.digest:
        raise DownloadError(
            f"{target} is there, but it is not the published file ({remote.algorithm.upper()} "
            f"{found}, published {remote.digest}) and is left alone: move it away or name another "
            "folder"
        )
    return True


def _fill(part: Path, remote: Remote, timeout, attempts, pause, report) -> None:
    """Get the bytes into ``part`` and check them, address after address."""
    reasons = {}
    for url in remote.urls:
        for attempt in range(1, attempts + 1):
            resumed = part.exists()
            try:
                _once(url, part, remote, timeout, report)
                _check(part, remote, url)
                return
            except _Trouble as trouble:
                reasons[url] = str(trouble)
                # a wrong digest may come from a part of another file: then start again from nothing
                if not (trouble.again or (resumed and not part.exists())):
                    break
            if attempt < attempts:
                time.sleep(pause * 2 ** (attempt - 1))
    kept = ""
    if part.exists() and part.stat().st_size == 0:
        part.unlink()
    if part.exists():
        kept = f" {part.stat().st_size:,} bytes are kept: the same command goes on from there."
    tried = "; ".join(f"{url}: {reason}" for url, reason in reasons.items()) or "no address"
    raise DownloadError(
        f"{remote.name} could not be fetched ({tried}).{kept} Without internet: copy the file by "
        f"hand to {part.parent / remote.name} ({remote.algorithm.upper()} {remote.digest}), or "
        "name a mirror that this computer can reach"
    )


def _once(url: str, part: Path, remote: Remote, timeout: float, report) -> None:
    """One request: append to ``part`` what is missing, or write it anew."""
    have = part.stat().st_size if part.exists() else 0
    answer = _answer(url, have, timeout)
    if answer is None:  # the server has nothing beyond what is here: complete, or another file
        return
    with answer:
        start, total = _extent(answer, have, part)
        if max(total or 0, start) > remote.most_bytes:
            raise _too_long(part, remote, max(total or 0, start))
        _check_room(part, start, total)
        with open(part, "r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done = _copy(answer, file, part, remote, timeout, total, report)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Trouble(f"the connection ended after {done:,} of {total:,} bytes")


def _answer(url: str, have: int, timeout: float) -> http.client.HTTPResponse | None:
    """The server's answer to a request for the bytes from ``have`` on; None: it has no more."""
    headers = {"User-Agent": f"medxfer-lab/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return None
        # on a redirect loop urllib adds a paragraph to the reason
        reason = str(error.reason).splitlines()[0][:120] if error.reason else ""
        raise _Trouble(f"HTTP {error.code} {reason}".strip(), error.code in _TEMPORARY) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Trouble(_said(error, timeout)) from None


def _said(error: Exception, timeout: float) -> str:
    reason = getattr(error, "reason", None) or error  # URLError wraps what happened
    if isinstance(reason, TimeoutError):
        return f"nothing came for {timeout:g} s"
    return (str(reason) or type(reason).__name__)[:200]


def _extent(answer: http.client.HTTPResponse, have: int, part: Path) -> tuple[int, int | None]:
    """(first byte that comes, length of the whole file or None)."""
    if answer.status != 206:  # the whole file, whatever was asked for
        length = answer.headers.get("Content-Length") or ""
        return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None
    stated = re.fullmatch(
        r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range") or ""
    )
    if not stated or int(stated[1]) != have:
        part.unlink(missing_ok=True)  # next time from the start, which needs no Range
        raise _Trouble("the server answered with another part of the file than asked for")
    return have, None if stated[2] == "*" else int(stated[2])


def _copy(answer, file: BinaryIO, part: Path, remote: Remote, timeout, total, report) -> int:
    done, recent, since = file.tell(), 0, time.monotonic()
    while piece := _piece(answer, timeout):
        done += len(piece)
        if done > remote.most_bytes:
            raise _too_long(part, remote, done)
        file.write(piece)
        report(done, total)
        recent += len(piece)
        if time.monotonic() - since > timeout:
            if recent < SLOWEST:
                raise _Trouble(f"only {recent} bytes came in {timeout:g} s")
            recent, since = 0, time.monotonic()
    return done


def _piece(answer: http.client.HTTPResponse, timeout: float) -> bytes:
    """What has come by now (``read`` would wait for a whole chunk, however slowly it drips)."""
    try:
        return answer.read1(CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Trouble(_said(error, timeout)) from None


def _too_long(part: Path, remote: Remote, size: int) -> _Trouble:
    part.unlink(missing_ok=True)
    return _Trouble(
        f"the file there has {size:,} bytes or more, and {remote.name} cannot have more than "
        f"{remote.most_bytes:,}: it is another file",
        False,
    )


def _check_room(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free + (part.stat().st_size if part.exists() else 0)
    if total is not None and free - total < RESERVE:
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"{part.parent} has {free >> 20:,} MiB free; the file needs {total >> 20:,} MiB and "
            f"{RESERVE >> 20} MiB must stay free: make room, or name another folder"
        )


def _check(part: Path, remote: Remote, url: str) -> None:
    found = digest_of(part, remote.algorithm)
    if found != remote.digest:
        size = part.stat().st_size
        part.unlink()
        raise _Trouble(
            f"its {remote.algorithm.upper()} is {found}, published is {remote.digest} ({size:,} "
            "bytes came): damaged on the way, or another file",
            False,
        )
