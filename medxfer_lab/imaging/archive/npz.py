"""Reading arrays from an npz file of unknown origin: checked first, then allocated, never run.

An npz file is a zip of .npy files, each a short header (dtype, order, shape) and the raw numbers.
Source: numpy.lib.format (NEP 1) for the header, APPNOTE.TXT 6.3 for the zip. Nothing here unpickles
or evaluates more than a literal.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medxfer_lab.imaging.archive.errors import refusal, shown
from medxfer_lab.imaging.archive.limits import CHUNK, DEFAULT_LIMITS, Limits, check_file, guarded

MEMBERS = 64  # arrays in one file
DIRECTORY_BYTES = 1 << 20
HEADER_BYTES = 4096
#: deflate shrinks at most 1,032-fold; whole data sets of masks reach some 150
RATIO, RATIO_FROM = 500, 1 << 24
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}\.npy")
_DTYPE = re.compile(r"\|?b1|[<>|=]?[iu][1248]|[<>=]?f[248]|[<>=]?U\d{1,4}")
_ENCRYPTED = 0x1 | 0x40 | 0x2000


@dataclass(frozen=True)
class Header:
    """What a member says of its array. offset: bytes before the numbers."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def headers(path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS) -> dict[str, Header]:
    """The arrays of an npz file by name, without reading their numbers.

    Raises :class:`~medxfer_lab.imaging.archive.errors.ArchiveError` unless every member is a plain
    array of numbers or short text whose size agrees with what its header and the zip say.
    """
    with _directory(path, limits) as (archive, members):
        return {
            info.filename.removesuffix(".npy"): _header(path, archive, info) for info in members
        }


def read(
    path: str | os.PathLike,
    name: str,
    rows: np.ndarray | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> np.ndarray:
    """Array ``name`` of an npz file, in this machine's byte order.

    rows: increasing indices along the first axis; only these are kept, and memory is that of the
    result and one stretch of the file, however long the array is.
    """
    with _directory(path, limits) as (archive, members):
        info = next((i for i in members if i.filename == f"{name}.npy"), None)
        if info is None:
            there = ", ".join(sorted(i.filename.removesuffix(".npy") for i in members))
            raise refusal(path, f"holds no array {name!r}", f"one of: {there or 'nothing'}")
        header = _header(path, archive, info)
        values = _values(path, header, rows, limits)
        with guarded(path, f"reading {name}"), archive.open(info) as stream:
            _exactly(path, stream, header.offset)
            flat = _rows(path, stream, header, values, rows)
            if stream.read(1):  # also makes zipfile compare the checksum
                raise refusal(path, f"{name} goes on after its last number")
    native = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "U":
        _check_text(path, name, native)
    return native


def _values(path, header: Header, rows: np.ndarray | None, limits: Limits) -> int:
    """Numbers that will be kept; refused before anything is allocated for them."""
    values = math.prod(header.shape)
    if rows is not None and values:
        if header.fortran and len(header.shape) > 1:
            raise refusal(
                path, f"{header.name} is in column order", "row order, to take single rows from it"
            )
        _check_rows(path, header, rows)
        values = values // header.shape[0] * len(rows)
    if values > limits.values:
        raise refusal(
            path,
            f"{header.name} has {values:,} values (shape {header.shape})",
            f"at most {limits.values:,}",
            "take fewer images, or pass Limits(values=...) with a higher number",
        )
    return values


def _check_rows(path, header: Header, rows: np.ndarray) -> None:
    rows = np.asarray(rows)
    if rows.ndim != 1 or (np.diff(rows) <= 0).any() or (rows < 0).any():
        raise ValueError("rows must be increasing indices from 0: sort them, each once")
    if len(rows) and rows[-1] >= header.shape[0]:
        raise refusal(path, f"{header.name} has {header.shape[0]} rows", f"row {rows[-1]} to exist")


def _rows(path, stream, header: Header, values: int, rows: np.ndarray | None) -> np.ndarray:
    """The numbers, stretch by stretch into their place."""
    if rows is None or not header.shape or not values:
        flat = np.empty(values, header.dtype)
        room = memoryview(flat.view(np.uint8)) if values else memoryview(b"")
        for start in range(0, len(room), CHUNK):
            piece = room[start : start + CHUNK]
            piece[:] = _exactly(path, stream, len(piece))
        if rows is not None and header.shape:  # an array without values
            _skip(path, stream, header.nbytes)
            return flat.reshape(len(rows), *header.shape[1:])
        return flat.reshape(header.shape, order="F" if header.fortran else "C")
    size = header.nbytes // header.shape[0]
    kept = np.empty((len(rows), size), np.uint8)
    at = 0
    for place, row in enumerate(rows):
        _skip(path, stream, (int(row) - at) * size)
        kept[place] = np.frombuffer(_exactly(path, stream, size), np.uint8)
        at = int(row) + 1
    _skip(path, stream, (header.shape[0] - at) * size)
    return kept.view(header.dtype).reshape(len(rows), *header.shape[1:])


def _check_text(path: str | os.PathLike, name: str, text: np.ndarray) -> None:
    """numpy makes a str of any 32 bits; one beyond Unicode makes the interpreter misbehave."""
    codes = np.ascontiguousarray(text).reshape(-1).view(np.uint32)
    bad = (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000)) | ((codes > 0) & (codes < 32))
    if bad.any():
        code = int(codes[bad.argmax()])
        raise refusal(path, f"{name} holds the character {code:#x}", "printable Unicode")


def _exactly(path, stream, size: int) -> bytes:
    parts, missing = [], size
    while missing:
        part = stream.read(min(missing, CHUNK))
        if not part:
            raise refusal(
                path, f"ends {missing:,} bytes early", way_out="it is cut short: fetch it again"
            )
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _skip(path, stream, size: int) -> None:
    while size > 0:
        size -= len(_exactly(path, stream, min(size, CHUNK)))


class _Reluctant(io.FileIO):
    """A file that gives at most DIRECTORY_BYTES at a time: a zip directory may claim any length."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory claims {size:,} bytes")
        return super().read(size)


@contextlib.contextmanager
def _directory(
    path: str | os.PathLike, limits: Limits
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The opened zip and its members, every one of them checked."""
    size = check_file(path, limits)
    with guarded(path, "opening it"):
        file = _Reluctant(os.fspath(path))
    with file:
        if file.read(4) != b"PK\x03\x04":
            raise refusal(path, "is not a zip file", "an npz file, as numpy.savez writes it")
        with guarded(path, "reading the directory of the zip"):
            archive = zipfile.ZipFile(file)
        with archive:
            members = archive.infolist()
            _check_members(path, members, size, limits)
            yield archive, members


def _check_members(path, members: list[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    if len(members) > MEMBERS:
        raise refusal(path, f"holds {len(members):,} members", f"at most {MEMBERS} arrays")
    names = [info.filename for info in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise refusal(path, f"holds {shown(twice)} twice", "every name once")
    for info in members:
        _check_member(path, info)
    total = sum(info.file_size for info in members)
    if total > limits.inflated_bytes:
        raise refusal(
            path,
            f"unpacks to {total:,} bytes",
            f"at most {limits.inflated_bytes:,}",
            "if the file is right, pass Limits(inflated_bytes=...) with a higher number",
        )
    end = 0
    for info in sorted(members, key=lambda i: i.header_offset):
        # 30 bytes of local header and the name; members that share bytes multiply on unpacking
        if info.header_offset < end:
            raise refusal(path, f"{shown(info.filename)} overlaps the member before it")
        end = info.header_offset + 30 + len(info.filename) + info.compress_size
    if end > size:
        raise refusal(path, "its members reach beyond its end", way_out="it is cut short: fetch it")


def _check_member(path, info: zipfile.ZipInfo) -> None:
    name = shown(info.orig_filename)
    if not _NAME.fullmatch(info.orig_filename):
        raise refusal(
            path, f"holds a member called {name}", "plain names of arrays such as 'images.npy'"
        )
    if info.flag_bits & _ENCRYPTED:
        raise refusal(path, f"{name} is encrypted", "a file without password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refusal(path, f"{name} is packed by method {info.compress_type}", "0 or 8 (deflate)")
    if info.file_size > RATIO_FROM and info.file_size > RATIO * max(info.compress_size, 1):
        raise refusal(
            path,
            f"{name} unpacks from {info.compress_size:,} to {info.file_size:,} bytes",
            f"at most {RATIO}-fold",
            "a file like this is made to exhaust memory",
        )


def _header(path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """Read and check the header of one member; its claim must be the zip's to the byte."""
    name = info.filename.removesuffix(".npy")
    with guarded(path, f"reading the header of {name}"), archive.open(info) as stream:
        start = _exactly(path, stream, 8)
        major = start[6]
        if start[:6] != b"\x93NUMPY" or major not in (1, 2, 3):
            raise refusal(path, f"{name} begins with {start!r}", "an array as numpy.save writes it")
        width = 2 if major == 1 else 4
        length = int.from_bytes(_exactly(path, stream, width), "little")
        if length > HEADER_BYTES:
            raise refusal(path, f"the header of {name} has {length:,} bytes", "at most 4,096")
        text = _exactly(path, stream, length).decode("utf-8" if major == 3 else "latin-1")
    dtype, fortran, shape = _parsed(path, name, text)
    header = Header(name, dtype, shape, fortran, 8 + width + length)
    if header.offset + header.nbytes != info.file_size:
        raise refusal(
            path,
            f"{name} says {shape} {dtype} ({header.nbytes:,} bytes) and has "
            f"{info.file_size - header.offset:,} bytes",
            "the same number",
            "the header is damaged: fetch the file again",
        )
    return header


def _parsed(path, name: str, text: str) -> tuple[np.dtype, bool, tuple[int, ...]]:
    try:
        said = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise refusal(path, f"the header of {name} is not readable: {shown(text)}") from None
    if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
        raise refusal(path, f"the header of {name} is {shown(text)}", "descr, order and shape")
    descr, fortran, shape = said["descr"], said["fortran_order"], said["shape"]
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        raise refusal(
            path,
            f"{name} holds {shown(descr)}",
            "numbers or short text",
            "objects would have to be unpickled, which can run code: save plain arrays",
        )
    if not isinstance(fortran, bool):
        raise refusal(path, f"the order of {name} is {shown(fortran)}", "True or False")
    if (
        not isinstance(shape, tuple)
        or len(shape) > 6
        or not all(type(size) is int and 0 <= size < 2**48 for size in shape)
    ):
        raise refusal(path, f"the shape of {name} is {shown(shape)}", "up to six sizes from 0")
    return np.dtype(descr), fortran, shape
