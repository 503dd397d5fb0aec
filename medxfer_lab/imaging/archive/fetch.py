"""Getting a published data set: whole, with the published MD5, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from medxfer_lab._download import DownloadError, Remote, download
from medxfer_lab.imaging.archive import catalogue
from medxfer_lab.imaging.archive.errors import ArchiveError

MIRRORS_VARIABLE = "MEDXFER_MIRRORS"


class FetchError(ArchiveError):
    """A data set could not be fetched; the message says why and what to do."""


def fetch(
    name: str,
    size: int = 28,
    folder: str | os.PathLike | None = None,
    mirrors: Sequence[str] = (),
    timeout: float = 60.0,
    attempts: int = 3,
    pause: float = 2.0,
    report: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Get data set ``name`` with images of ``size`` pixels; the path of the file.

    folder: default MEDXFER_DATA, else the course's own. mirrors: addresses of folders that hold the
    same files, ``https://``, ``http://`` or ``file://``; they are tried first, then those of the
    environment variable MEDXFER_MIRRORS (separated by spaces), then the publisher's own.

    An interrupted download goes on where it stopped. See :func:`medxfer_lab._download.download`
    for the other arguments and what is kept. Raises :class:`FetchError`.
    """
    entry = catalogue.entry(name)
    filename = entry.filename(size)
    official, md5 = entry.published[size]
    bases = [*mirrors, *os.environ.get(MIRRORS_VARIABLE, "").split()]
    try:
        urls = [_address(base, filename) for base in bases]
        remote = Remote(filename, (*urls, official), md5, "md5", entry.most_bytes(size))
        return download(
            remote, catalogue.folders(folder)[0], timeout, attempts, pause, report or _silent
        )
    except DownloadError as error:
        where = f" (--mirror or {MIRRORS_VARIABLE})" if str(error).endswith("can reach") else ""
        raise FetchError(f"{error}{where}") from None


def _address(base: str, filename: str) -> str:
    if urlsplit(base).query or urlsplit(base).fragment:
        raise DownloadError(f"the mirror {base!r} has a query; expected the address of a folder")
    return f"{base.rstrip('/')}/{filename}"


def _silent(done: int, total: int | None) -> None:
    pass


@dataclass(frozen=True)
class State:
    """What there is of one file here. verified: None where it was not looked at or is not here."""

    entry: catalogue.Entry
    size: int
    path: Path | None
    verified: bool | None


def states(
    names: Sequence[str] = (), folder: str | os.PathLike | None = None, verify: bool = True
) -> list[State]:
    """Every file of the data sets ``names`` (default: all), present or not.

    verify: compare the MD5 of those present with the published one.
    """
    found = []
    for entry in [catalogue.entry(name) for name in names] or catalogue.entries().values():
        for size in entry.published:
            path = catalogue.find(entry.filename(size), folder)
            good = catalogue.is_published(path, entry, size) if path and verify else None
            found.append(State(entry, size, path, good))
    return found
