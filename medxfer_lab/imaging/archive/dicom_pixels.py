"""From a DICOM file's pixel data to arrays: sizes checked first, decoded a frame at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medxfer_lab.imaging.archive.codestreams import check_codestream, check_rle
from medxfer_lab.imaging.archive.dicom_file import DicomFile, attach_pixels
from medxfer_lab.imaging.archive.errors import ArchiveError, refusal, shown
from medxfer_lab.imaging.archive.limits import Limits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
ALLOCATED = {
    "PixelData": (1, 8, 16, 32),
    "FloatPixelData": (32,),
    "DoubleFloatPixelData": (64,),
}


@dataclass(frozen=True)
class Layout:
    """How pixels lie in the file: DICOM's image pixel module (PS3.3, C.7.6.3).

    allocated, stored, high: bits of a sample's cell, of the sample, and its topmost bit.
    """

    frames: int
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    keyword: str

    @property
    def integers(self) -> bool:
        return self.keyword == "PixelData"

    @property
    def value_range(self) -> tuple[int, int]:
        """Smallest and largest integer that the stored bits can hold."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame; in YBR_FULL_422 two pixels share their colour."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated


def layout(scan: DicomFile, limits: Limits) -> Layout:
    """Read and check the image pixel module; every number is compared before it is used."""
    header, path = scan.header, scan.path
    if scan.keyword is None:
        kind = f"{shown(header.get('Modality'))}, {shown(_sop_class(header))}"
        raise refusal(
            path,
            f"has no pixel data (it is {kind})",
            "an image",
            "a DICOMDIR, a report or a treatment plan points to images: read those; "
            "an image without pixels was cut short",
        )
    photometric = str(header.get("PhotometricInterpretation", "") or "").strip().upper()
    if photometric not in GREY + COLOUR:
        raise refusal(
            path,
            f"its PhotometricInterpretation is {shown(photometric)}",
            f"one of {', '.join(GREY + COLOUR)}",
        )
    integers = scan.keyword == "PixelData"
    allocated = integer(scan, "BitsAllocated", {"FloatPixelData": 32}.get(scan.keyword, 64))
    stored = integer(scan, "BitsStored", allocated) if integers else allocated
    found = Layout(
        frames=integer(scan, "NumberOfFrames", 1),
        rows=integer(scan, "Rows"),
        columns=integer(scan, "Columns"),
        samples=integer(scan, "SamplesPerPixel", 1),
        allocated=allocated,
        stored=stored,
        high=integer(scan, "HighBit", stored - 1) if integers else stored - 1,
        signed=bool(integer(scan, "PixelRepresentation", 0)) if integers else True,
        photometric=photometric,
        keyword=scan.keyword,
    )
    _check(scan, found)
    channels = 3 if photometric == "PALETTE COLOR" else found.samples
    limits.check_shape(path, (found.frames, channels, found.rows, found.columns), "the image")
    return found


def _check(scan: DicomFile, found: Layout) -> None:
    samples = 1 if found.photometric in GREY else 3
    if found.samples != samples:
        raise refusal(
            scan.path,
            f"its SamplesPerPixel is {found.samples}",
            f"{samples} for {found.photometric}",
        )
    if found.allocated not in ALLOCATED[found.keyword]:
        raise refusal(
            scan.path,
            f"its BitsAllocated is {found.allocated}",
            f"one of {', '.join(map(str, ALLOCATED[found.keyword]))} for {found.keyword}",
        )
    if not 1 <= found.stored <= found.high + 1 <= found.allocated:
        raise refusal(
            scan.path,
            f"its BitsStored is {found.stored}, HighBit {found.high}, "
            f"BitsAllocated {found.allocated}",
            "1 <= BitsStored <= HighBit + 1 <= BitsAllocated",
        )


def integer(scan: DicomFile, keyword: str, default: int | None = None) -> int:
    """A whole number from the header; ``default`` where it is missing or empty."""
    try:
        value = scan.header.get(keyword)
        if value is None or value == "":
            value = default
        number = float(value)  # DICOM's integer strings may be written as decimals
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        element = scan.header.get_item(keyword)
        value = getattr(element, "value", None)
    raise refusal(scan.path, f"its {keyword} is {shown(value)}", "a whole number")


def decoded(
    scan: DicomFile, found: Layout, limits: Limits, which: int | None = None
) -> Iterator[np.ndarray]:
    """Frames in order, (rows, columns, samples): integers as stored, YBR already turned to RGB.

    which: only this frame.
    """
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(scan.syntax))
    except NotImplementedError as error:
        raise refusal(
            scan.path,
            f"its transfer syntax is {scan.syntax_name} ({scan.syntax})",
            "still images that pydicom can decode",
            "convert the file to Explicit VR Little Endian, e.g. with dcmtk's or gdcm's tools",
        ) from error
    if not decoder.is_available:
        raise _missing_decoder(scan, decoder)
    expected = math.ceil(found.frame_bits * found.frames / 8)
    header = attach_pixels(scan, limits, expected)
    header.NumberOfFrames = found.frames
    if decoder.is_encapsulated:
        _check_frames(scan, found, header)
    wanted = range(found.frames) if which is None else [which]
    try:
        source = _encapsulated if decoder.is_encapsulated else _native
        for frame in source(decoder, header, found, wanted):
            frame = frame.reshape(found.rows, found.columns, found.samples)
            yield _stored_bits(frame, found) if _as_written(decoder, found) else frame
    except ArchiveError:
        raise
    except Exception as error:
        raise _undecodable(scan, decoder, error) from error


def _native(decoder, header: Dataset, found: Layout, wanted: Sequence[int]) -> Iterator:
    for frame, _ in decoder.iter_array(header, indices=list(wanted), correct_unused_bits=False):
        yield frame


def _encapsulated(decoder, header: Dataset, found: Layout, wanted: Sequence[int]) -> Iterator:
    """Each compressed frame as a picture of its own: to find frame i again would take i steps."""
    from pydicom.encaps import encapsulate

    frames = list(_compressed(header, found))
    header.NumberOfFrames = 1
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        header.pop(keyword, None)
    for index in wanted:
        header[found.keyword].value = encapsulate([frames[index]], has_bot=False)
        yield decoder.as_array(header, index=0, correct_unused_bits=False)[0]


def _compressed(header: Dataset, found: Layout) -> Iterator[bytes]:
    """The compressed frames, in order."""
    from pydicom.encaps import generate_frames

    offsets = (header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
    frames = generate_frames(
        header[found.keyword].value,
        number_of_frames=found.frames,
        extended_offsets=offsets if all(offsets) else None,
    )
    return itertools.islice(frames, found.frames)


def _as_written(decoder, found: Layout) -> bool:
    """Are the cells the file's own (a JPEG decoder's are clean already)?"""
    native = decoder.is_native or decoder.UID.name == "RLE Lossless"
    return native and found.integers and found.samples == 1


def _stored_bits(frame: np.ndarray, found: Layout) -> np.ndarray:
    """Only the stored bits of each cell: the others may hold an overlay (PS3.5, 8.1.1)."""
    if found.stored == found.allocated:
        return frame
    cells = frame.astype(frame.dtype.newbyteorder("="))
    cells = cells.view(f"u{cells.dtype.itemsize}").astype(np.int64)
    values = (cells >> (found.high + 1 - found.stored)) & ((1 << found.stored) - 1)
    if found.signed:
        sign = 1 << (found.stored - 1)
        values = (values ^ sign) - sign
    return values


def _check_frames(scan: DicomFile, found: Layout, header: Dataset) -> None:
    """Every frame is there, and none of them unpacks to more than the header says."""
    from pydicom.uid import RLELossless

    count = 0
    for count, frame in enumerate(_compressed(header, found), start=1):
        where = f"frame {count - 1}"
        if scan.syntax == RLELossless:
            planes = found.samples * found.allocated // 8
            check_rle(scan.path, where, frame, planes, found.rows * found.columns)
        else:
            check_codestream(scan.path, where, frame, found.rows, found.columns, found.samples)
    if count < found.frames:
        raise refusal(
            scan.path, f"holds {count} compressed frames", f"{found.frames} as its header says"
        )


def _missing_decoder(scan: DicomFile, decoder) -> ArchiveError:
    return refusal(
        scan.path,
        f"its pixels are compressed as {scan.syntax_name} ({scan.syntax})",
        "a package that decodes it, and none is installed",
        f"install one of: {'; '.join(decoder.missing_dependencies)}",
    )


def _undecodable(scan: DicomFile, decoder, error: Exception) -> ArchiveError:
    reason = " ".join(str(error).split())
    others = "; ".join(decoder.missing_dependencies)
    way_out = "the pixels may be damaged: fetch the file again"
    if decoder.is_encapsulated and others:
        if "does not support" in reason or "cannot decode" in reason:  # 12-bit JPEG in Pillow
            way_out = f"install a decoder that can: {others}"
        else:
            way_out += f", or try another decoder ({others})"
    return refusal(
        scan.path,
        f"decoding its pixels ({scan.syntax_name}) failed: {shown(reason, 240)}",
        way_out=way_out,
    )


def _sop_class(header: Dataset) -> str:
    value = header.get("SOPClassUID")
    return getattr(value, "name", None) or "without a SOP class"
