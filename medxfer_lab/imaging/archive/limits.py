"""How much of this machine a file may take, and opening files without being surprised.

A file's header may claim any size. Each reader compares the claim with ``Limits`` and with the
bytes that are really there *before* it allocates or decodes anything.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import stat
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from medxfer_lab.imaging.archive.errors import ArchiveError, refusal, shown

CHUNK = 1 << 16


@dataclass(frozen=True)
class Limits:
    """The most that one file may hold; a request for more is refused, with the limit named.

    file_bytes: length of the file on disk. values: numbers in the decoded picture (frames x
    channels x rows x columns; four bytes each as float32, so 2**28 is 1 GiB). edge: the longest
    side. frames: frames or slices. files: files of a folder. inflated_bytes: what a compressed
    file may unpack to. header_bytes: what may stand before the pixels.
    header_parts: elements and items in it; each costs some 600 bytes of memory, however short.
    """

    file_bytes: int = 2**31
    values: int = 2**28
    edge: int = 2**16
    frames: int = 2**14
    files: int = 2**17
    inflated_bytes: int = 2**30 + 2**20
    header_bytes: int = 2**24
    header_parts: int = 2**18

    def check_shape(self, path: str | os.PathLike, shape: Sequence[int], what: str) -> int:
        """Number of values of ``shape`` (frames, channels, rows, columns), if it is allowed."""
        sizes = [int(size) for size in shape]
        if len(sizes) != 4:
            raise ValueError(f"shape is {shape}; expected (frames, channels, rows, columns)")
        if min(sizes) < 1:
            raise refusal(path, f"{what} is {_times(sizes)}", "every size to be at least 1")
        frames, _, rows, columns = sizes
        values = math.prod(sizes)
        for name, found, most in (
            ("frames", frames, self.frames),
            ("edge", max(rows, columns), self.edge),
            ("values", values, self.values),
        ):
            if found > most:
                raise refusal(
                    path,
                    f"{what} is {_times(sizes)}, {found:,} {name}",
                    f"at most {most:,}",
                    f"if the file is right, pass Limits({name}=...) with a higher number",
                )
        return values


DEFAULT_LIMITS = Limits()


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(f"{size:,}" for size in sizes) + " (frames x channels x rows x columns)"


def check_file(path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS) -> int:
    """Length in bytes of a regular, non-empty file that is not too long."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(path, f"cannot be opened ({reason})", "a file that can be read") from error
    if stat.S_ISDIR(status.st_mode):
        raise refusal(path, "is a folder", "a file", "use the reader for folders")
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could wait for ever
        raise refusal(path, "is not a regular file", "a file on disk")
    if status.st_size == 0:
        raise refusal(path, "is empty (0 bytes)", "a picture", "fetch or copy it again")
    if status.st_size > limits.file_bytes:
        raise refusal(
            path,
            f"has {status.st_size:,} bytes",
            f"at most {limits.file_bytes:,}",
            "if the file is right, pass Limits(file_bytes=...) with a higher number",
        )
    return status.st_size


@contextlib.contextmanager
def opened(path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS) -> Iterator[BinaryIO]:
    """Open a checked file for reading bytes."""
    check_file(path, limits)
    try:
        file = Path(path).open("rb")
    except OSError as error:
        raise refusal(
            path, f"cannot be opened ({error.strerror})", "a file that can be read"
        ) from error
    with file:
        yield file


class Clipped:
    """A file whose ``read(n)`` never asks for more than is left before byte ``end``.

    A header field may announce 4 GiB; Python's files set that much memory aside before they look.
    Reading at ``end`` itself is refused when more bytes follow: a header that goes on for ever.
    So is reading more than ``pieces`` times: a parser takes each element in pieces of its own.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: str | os.PathLike,
        most: int | None = None,
        pieces: int | None = None,
    ) -> None:
        self.file, self.path, self.pieces = file, path, pieces
        self.size = file.seek(0, os.SEEK_END)
        self.end = self.size if most is None else min(most, self.size)
        file.seek(0)

    def read(self, count: int = -1) -> bytes:
        left = self.end - self.file.tell()
        if left <= 0 and self.end < self.size:
            raise refusal(
                self.path,
                f"its header goes on after {self.end:,} bytes",
                "the pixels to begin before that",
                "if the file is right, pass Limits(header_bytes=...) with a higher number",
            )
        if self.pieces is not None:
            self.pieces -= 1
            if self.pieces < 0:
                raise refusal(
                    self.path,
                    "its header has more elements than any image needs",
                    "fewer",
                    "if the file is right, pass Limits(header_parts=...) with a higher number",
                )
        return self.file.read(max(left, 0) if count is None or count < 0 else min(count, left))

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(place, whence)

    def tell(self) -> int:
        return self.file.tell()


def inflated(
    file: BinaryIO, path: str | os.PathLike, most: int, wbits: int, short: bool = False
) -> bytes:
    """Decompress a zlib (wbits 15), raw deflate (-15) or gzip (31) stream, ``most`` bytes at most.

    A longer stream is refused as soon as it is known to be longer (``short``: it is cut there
    instead). gzip: members that follow one another are joined, as its standard wants.
    Memory: twice ``most`` bytes and the work space of one chunk, whatever the stream holds.
    """
    engine, parts, total = zlib.decompressobj(wbits), [], 0
    waiting = b""
    while True:
        waiting = waiting or file.read(CHUNK)
        if engine.eof:
            if wbits != 31 or not waiting.startswith(b"\x1f"):
                return b"".join(parts)
            engine = zlib.decompressobj(wbits)
        if not waiting:
            raise refusal(
                path,
                f"its compressed data end after {total:,} bytes without an end mark",
                "a whole stream",
                "the file is cut short: fetch it again",
            )
        try:
            part = engine.decompress(waiting, min(CHUNK * 16, most + 1 - total))
        except zlib.error as error:
            raise refusal(
                path, f"its compressed data are damaged ({error})", way_out="fetch the file again"
            ) from error
        waiting = engine.unused_data if engine.eof else engine.unconsumed_tail
        parts.append(part)
        total += len(part)
        if total > most and short:
            return b"".join(parts)[:most]
        if total > most:
            raise refusal(
                path,
                f"it unpacks to more than {most:,} bytes",
                "no more than its header announces and the limits allow",
                "a file like this is damaged or made to exhaust memory",
            )


@contextlib.contextmanager
def guarded(path: str | os.PathLike, doing: str) -> Iterator[None]:
    """Whatever a reading library raises about ``path`` becomes an ArchiveError."""
    try:
        yield
    except ArchiveError:
        raise
    except MemoryError as error:
        raise refusal(
            path,
            f"there is not enough memory for {doing}",
            way_out="pass lower Limits, or use a machine with more memory",
        ) from error
    except Exception as error:  # the libraries promise no type: anything from KeyError to OSError
        behind: BaseException | None = error
        while behind is not None:  # a library may have caught a refusal of ours
            if isinstance(behind, ArchiveError):
                raise behind from error
            behind = behind.__cause__ or behind.__context__
        reason = " ".join(str(error).split())
        raise refusal(
            path,
            f"{doing} failed ({type(error).__name__}: {shown(reason, 200)})",
            way_out="the file may be damaged: fetch it again, or open it with another viewer",
        ) from error


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[list[str]]:
    """Collect what libraries warn about or log instead of letting them print it."""
    said: list[str] = []
    handler = _Collector(said)
    before = [(log, log.propagate) for log in map(logging.getLogger, loggers)]
    for log, _ in before:
        log.addHandler(handler)
        log.propagate = False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
    finally:
        for log, propagate in before:
            log.removeHandler(handler)
            log.propagate = propagate
        said.extend(_line(str(warning.message)) for warning in caught)
        said[:] = dict.fromkeys(said)  # pydicom both warns and logs


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


class _Collector(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(_line(record.getMessage()))
