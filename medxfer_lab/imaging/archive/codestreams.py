"""What a compressed frame will unpack to, read from its own header before it is decoded.

A JPEG of a hundred bytes may announce 65,535 x 65,535 pixels, whatever the DICOM header around it
says; decoders believe it.
"""

from __future__ import annotations

import struct

from medxfer_lab.imaging.archive.errors import refusal, shown

# start-of-frame markers: 0xC0 to 0xCF without tables (C4, C8, CC), and JPEG-LS (F7)
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_JP2 = b"\x00\x00\x00\x0cjP  "
RLE_PADDING = 1024  # bytes that a careless encoder may leave at the end of a segment


def check_codestream(
    path: str, where: str, frame: bytes, rows: int, columns: int, samples: int
) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 frame that is not of the header's size."""
    size = jpeg_size(frame) if frame.startswith(b"\xff\xd8") else jpeg2000_size(frame)
    if size is None:
        raise refusal(
            path,
            f"{where} begins with {shown(frame[:8])}",
            "a JPEG, JPEG-LS or JPEG 2000 picture",
            "the compressed pixels are damaged: fetch the file again",
        )
    if size != (rows, columns, samples):
        raise refusal(
            path,
            f"{where} is compressed as {_size(*size)}",
            f"{_size(rows, columns, samples)} as the DICOM header says",
            "one of the two is damaged: fetch the file again",
        )


def _size(rows: int, columns: int, samples: int) -> str:
    return f"{rows:,} rows x {columns:,} columns x {samples} samples"


def jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) from the first start-of-frame segment (ITU-T T.81, B.2.2)."""
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _FRAME_MARKERS:
            rows, columns, samples = struct.unpack_from(">HHB", frame, place + 5)
            return rows, columns, samples
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers without a segment
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None


def jpeg2000_size(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) from the SIZ segment (ITU-T T.800, A.5.1); None if there is none.

    A JP2 file is walked box by box: a box without a length (0) would never end.
    """
    place = 0
    if frame.startswith(_JP2):
        place = 12
        while frame[place + 4 : place + 8] != b"jp2c":
            if place + 8 > len(frame):
                return None
            length = struct.unpack_from(">I", frame, place)[0]
            if length < 8:
                return None
            place += length
        place += 8
    if frame[place : place + 4] != b"\xff\x4f\xff\x51" or place + 42 > len(frame):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, place + 8)
    samples = struct.unpack_from(">H", frame, place + 40)[0]
    return bottom - top, right - left, samples


def check_rle(path: str, where: str, frame: bytes, planes: int, pixels: int) -> None:
    """Refuse an RLE frame whose segments are not ``planes`` of ``pixels`` bytes (PS3.5, G)."""
    if len(frame) < 64:
        raise refusal(path, f"{where} has {len(frame)} bytes", "an RLE header of 64")
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != planes:
        raise refusal(path, f"{where} announces {count:,} RLE segments", f"{planes}")
    edges = [*offsets[:count], len(frame)]
    if edges[0] < 64 or any(a > b for a, b in zip(edges, edges[1:])):
        raise refusal(
            path,
            f"{where} has RLE segments at {shown(edges)}",
            "places in rising order inside the frame",
        )
    for start, stop in zip(edges, edges[1:]):
        length = _rle_length(frame, start, stop, pixels + RLE_PADDING)
        if not pixels <= length <= pixels + RLE_PADDING:
            raise refusal(
                path,
                f"{where} has an RLE segment of {length:,} bytes or more"
                if length > pixels
                else f"{where} has an RLE segment of {length:,} bytes",
                f"{pixels:,}, one for each pixel",
            )


def _rle_length(frame: bytes, start: int, stop: int, most: int) -> int:
    """Bytes that a segment unpacks to, counted no further than beyond ``most``."""
    place, length = start, 0
    while place < stop and length <= most:
        code = frame[place]
        if code < 128:  # code + 1 bytes follow as they are
            length += min(code + 1, stop - place - 1)
            place += code + 2
        else:  # one byte, repeated; 128 does nothing
            if code > 128 and place + 1 < stop:
                length += 257 - code
            place += 2 if code > 128 else 1
    return length
