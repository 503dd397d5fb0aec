"""DICOM files, parsed with bounded memory: first the header, the pixels only on demand."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medxfer_lab.imaging.archive.errors import refusal, shown
from medxfer_lab.imaging.archive.limits import Clipped, Limits, inflated, opened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PREAMBLE = 132  # 128 bytes of anything, then "DICM"
PIXELS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
UNDEFINED = 0xFFFFFFFF  # the length of encapsulated pixel data
PIECES = 4  # reads that an element or an item takes
DISORDER = 64  # elements out of order that a careless writer may leave
AFTER = 1 << 20  # bytes allowed after deflated pixels: padding, signatures


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file's header.

    header: every element before the pixel data. syntax: transfer syntax UID. keyword: which pixel
    data element follows, None if none. start: where it starts in the (inflated) data set.
    length: how many bytes it announces. body: where the data set starts in the file.
    """

    path: str
    header: Dataset
    syntax: str
    keyword: str | None
    start: int
    length: int
    body: int

    @property
    def syntax_name(self) -> str:
        from pydicom.uid import UID

        return UID(self.syntax).name

    @property
    def deflated(self) -> bool:
        from pydicom.uid import DeflatedExplicitVRLittleEndian

        return self.syntax == DeflatedExplicitVRLittleEndian

    @property
    def little_endian(self) -> bool:
        return _encoding(self.syntax)[1]


def parse(path: str | os.PathLike, limits: Limits) -> DicomFile:
    """Read the header up to the pixel data, which stay in the file."""
    from pydicom.filereader import read_dataset

    with opened(path, limits) as file:
        pieces = PIECES * limits.header_parts
        start = Clipped(file, path, limits.header_bytes, pieces)
        if start.read(PREAMBLE)[128:] != b"DICM":
            raise refusal(
                path,
                "is no DICOM file (no 'DICM' after 128 bytes)",
                "a DICOM file with its preamble and file meta information",
                "export it again as 'DICOM Part 10', or use the reader of its own format",
            )
        meta = read_dataset(start, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
        body, syntax = start.tell(), _syntax(path, meta)
        source: Any = start
        if syntax == "1.2.840.10008.1.2.1.99":  # deflated
            file.seek(body)
            whole = inflated(file, path, limits.header_bytes, -15, short=True)
            source = Clipped(io.BytesIO(whole), path, pieces=pieces)
        walk = _Walk(path)
        header = read_dataset(source, *_encoding(syntax), stop_when=walk.reached_pixels)
        _check_items(path, header, limits)
        tag, length = (walk.tag, walk.length) if walk.tag >= min(PIXELS) else (0, 0)
        return DicomFile(
            os.fspath(path), header, syntax, PIXELS.get(tag), source.tell(), length, body
        )


class _Walk:
    """The elements in turn as the parser comes to them: tags rise, up to the pixels."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path, self.tag, self.length, self.disorder = path, -1, 0, 0

    def reached_pixels(self, tag: int, vr: str | None, length: int) -> bool:
        self.disorder += int(tag) <= self.tag
        if self.disorder > DISORDER:
            raise refusal(
                self.path,
                f"its elements repeat or go back {self.disorder} times, last at {tag}",
                "tags in rising order",
                "the file is damaged: fetch it again",
            )
        self.tag, self.length = int(tag), int(length)
        return self.tag >= min(PIXELS)


def attach_pixels(scan: DicomFile, limits: Limits, expected: int) -> Dataset:
    """The header and its pixel data element; ``expected``: bytes of pixels as the header has it."""
    from pydicom.filereader import read_dataset

    with opened(scan.path, limits) as file:
        source: Any = Clipped(file, scan.path)
        if scan.deflated:
            file.seek(scan.body)
            most = min(scan.start + expected + AFTER, limits.inflated_bytes)
            source = Clipped(io.BytesIO(inflated(file, scan.path, most, -15)), scan.path)
        head = 8 if _encoding(scan.syntax)[0] else 12  # tag, VR and length of the element
        _check_length(scan, source.size - scan.start - head, expected)
        source.seek(scan.start)
        element = read_dataset(
            source,
            *_encoding(scan.syntax),
            stop_when=lambda tag, *_: PIXELS.get(int(tag)) != scan.keyword,
        )
    if scan.keyword not in element:
        raise refusal(
            scan.path,
            f"its {scan.keyword} begins but never ends",
            "a whole file",
            "it was cut short: fetch it again",
        )
    scan.header.update(element)
    return scan.header


def _check_length(scan: DicomFile, left: int, expected: int) -> None:
    if scan.length == UNDEFINED:
        return
    if scan.length > left:
        raise refusal(
            scan.path,
            f"{scan.keyword} announces {scan.length:,} bytes, {max(left, 0):,} are left",
            "a whole file",
            "it was cut short: fetch it again",
        )
    if scan.length < expected:
        raise refusal(
            scan.path,
            f"{scan.keyword} holds {scan.length:,} bytes",
            f"{expected:,} for its rows, columns, frames and bits",
            "header or pixels are damaged: fetch it again",
        )


def _check_items(path: str | os.PathLike, header: Dataset, limits: Limits) -> None:
    """Sequences of a known length are parsed when they are asked for: count their items first."""
    for tag in header.keys():
        value = header.get_item(tag).value
        if isinstance(value, bytes) and len(value) > limits.header_parts:
            items = value.count(b"\xfe\xff\x00\xe0") + value.count(b"\xff\xfe\xe0\x00")
            if items > limits.header_parts:
                raise refusal(
                    path,
                    f"its element {tag} has {items:,} items",
                    f"at most {limits.header_parts:,}",
                    "if the file is right, pass Limits(header_parts=...) with a higher number",
                )


def _syntax(path: str | os.PathLike, meta: Dataset) -> str:
    from pydicom.uid import UID

    found = meta.get("TransferSyntaxUID")
    if not found or not isinstance(found, str):
        raise refusal(
            path,
            "has no transfer syntax (0002,0010), so its bytes cannot be told apart",
            "complete file meta information",
            "export it again from the archive it came from",
        )
    if not UID(found).is_transfer_syntax:
        raise refusal(path, f"its transfer syntax is {shown(found)}", "one of DICOM's own")
    return str(found)


def _encoding(syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian); everything but three old ones is explicit, little endian."""
    return syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2"
