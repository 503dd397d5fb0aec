"""Files made by hand to mislead a reader: each holds one lie, and none of them is a picture."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from tests.imaging.archive import mutations, samples

STORED = np.arange(48, dtype="<i2").reshape(6, 8)
VOXELS = np.random.default_rng(5).integers(0, 900, size=(9, 8, 7)).astype("<i2")


class Bite:
    """What a pickle could do on being read: leave a file where the test sees it."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return (Path.touch, (self.sentinel,))


def hostile_dicom(sentinel: Path) -> dict[str, bytes]:
    """Files made by hand, each with one lie."""
    good = samples.dicom_bytes(samples.dicom_dataset(STORED))
    made = {
        "nothing-but-magic": bytes(128) + b"DICM",
        "magic-and-zeros": bytes(128) + b"DICM" + bytes(5000),
        "magic-and-ones": bytes(128) + b"DICM" + b"\xff" * 5000,
        "a-picture-of-another-kind": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "text": b"not a picture" * 99,
        "a-pickle": pickle.dumps(Bite(sentinel)),
        "a-pickle-after-the-magic": bytes(128) + b"DICM" + pickle.dumps(Bite(sentinel)),
        "a-zip": zipped("../../outside", b"x" * 99),
        "gzip": gzip.compress(good),
    }
    lies = {
        "no-rows": {"Rows": None},
        "zero-rows": {"Rows": 0},
        "absurd-rows": {"Rows": 65535, "Columns": 65535},
        "more-rows-than-pixels": {"Rows": 7},
        "absurd-frames": {"NumberOfFrames": 2**31 - 1},
        "negative-frames": {"NumberOfFrames": -3},
        "zero-frames": {"NumberOfFrames": 0},
        "absurd-samples": {"SamplesPerPixel": 65535},
        "two-samples": {"SamplesPerPixel": 2},
        "colour-without-samples": {"PhotometricInterpretation": "RGB"},
        "unknown-colours": {"PhotometricInterpretation": "CIELAB"},
        "no-photometry": {"PhotometricInterpretation": None},
        "odd-bits": {"BitsAllocated": 12},
        "absurd-bits": {"BitsAllocated": 65535},
        "more-bits-than-room": {"BitsStored": 17},
        "no-bits": {"BitsStored": 0},
        "high-bit-too-high": {"HighBit": 200},
        "high-bit-too-low": {"BitsStored": 12, "HighBit": 3},
        "slope-zero": {"RescaleSlope": 0, "RescaleIntercept": 1},
        "slope-nan": {"RescaleSlope": "nan", "RescaleIntercept": 1},
        "intercept-infinite": {"RescaleSlope": 1, "RescaleIntercept": "-inf"},
        "slope-overflows": {"RescaleSlope": "1e39", "RescaleIntercept": 1},
        "palette-without-one": {"PhotometricInterpretation": "PALETTE COLOR"},
        "no-pixels": {"PixelData": None},
        "empty-pixels": {"PixelData": b""},
        "palette-too-short": palette([256, 0, 16], b"\1\2\3\4"),
        "palette-of-absurd-bits": palette([256, 0, 99], bytes(512)),
        "palette-of-two-numbers": palette([256, 0], bytes(512)),
        "palette-that-refers-to-itself": palette(
            [16, 0, 16], segments([0, 1, 5, 2, 9, 0, 0]), True
        ),
        "palette-line-without-end": palette([16, 0, 16], segments([0, 1, 5, 1, 60000, 9]), True),
        "table-too-short": table([4000, 0, 16], [1, 2]),
        "table-of-one-number": table([4000], [1, 2]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what is written here on purpose
        for name, tags in lies.items():
            made[name] = samples.dicom_bytes(samples.dicom_dataset(STORED, **tags))
    made |= {f"file-{name}": data for name, data in edited(good).items()}
    return made | compressed_lies()


def edited(good: bytes) -> dict[str, bytes]:
    """Lies that a well-behaved writer would not write."""
    rows = good.index(b"\x28\x00\x10\x00US")
    pixels = good.index(b"\xe0\x7f\x10\x00OW")
    syntax = good.index(b"1.2.840.10008.1.2.1\0")
    item = b"\xfe\xff\x00\xe0"
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xff\xff\xff\xff"

    def at_rows(extra: bytes) -> bytes:
        return good[:rows] + extra + good[rows:]

    return {
        "element-of-4-gigabytes": at_rows(b"\x20\x00\x00\x40UT\0\0" + b"\xf0\xff\xff\xff"),
        "pixels-of-4-gigabytes": good[: pixels + 8] + b"\xf0\xff\xff\xff" + good[pixels + 12 :],
        "pixels-without-length": good[: pixels + 8] + b"\xff\xff\xff\xff" + good[pixels + 12 :],
        "pixels-twice-as-short": good[: pixels + 8] + b"\x30\0\0\0" + good[pixels + 12 : -48],
        "ten-thousand-sequences-deep": at_rows(nested * 10_000),
        "sequence-without-end": at_rows(nested + bytes(64)),
        "many-elements": at_rows(b"\x09\x00\x10\x00LO\0\0" * 60_000),
        "many-elements-in-order": at_rows(
            b"".join(
                struct.pack("<HH2sH", 9 + 2 * (i // 9000), i % 9000, b"LO", 0)
                for i in range(40_000)
            )
        ),
        "many-items": at_rows(items_of(60_000)),
        "many-items-unclosed": at_rows(nested[:12] + (item + bytes(4)) * 60_000),
        "unknown-syntax": good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"),
        "wrong-syntax": good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
        "syntax-of-noise": good[:syntax] + bytes(range(128, 147)) + good[syntax + 19 :],
        "deflated-that-is-not": good.replace(b"10008.1.2.1\0", b"10008.1.2.1.99"[:12]),
        "no-magic": good[:128] + b"DICN" + good[132:],
        "cut-in-the-pixels": good[:-1],
        "cut-before-the-pixels": good[:pixels],
        "cut-in-the-tag": good[: pixels + 3],
        "frames-as-words": good[:rows] + b"\x28\x00\x08\x00IS\x04\0four" + good[rows:],
        "frames-many-values": good[:rows] + b"\x28\x00\x08\x00IS\x04\x002\\3 " + good[rows:],
    }


def items_of(count: int) -> bytes:
    """A sequence of ultrasound regions, of known length, of empty items."""
    body = b"\xfe\xff\x00\xe0\0\0\0\0" * count
    return b"\x18\x00\x11\x60SQ\0\0" + struct.pack("<I", len(body)) + body


def compressed_lies() -> dict[str, bytes]:
    """RLE, JPEG and JPEG 2000 frames that announce more than the header does."""
    rle = struct.pack("<16I", 2, 64, 70, *([0] * 13))
    run = b"\x81\x00"  # 128 zeros in two bytes
    jpeg = Path(samples.pydicom_file("SC_rgb_small_odd_jpeg.dcm"))
    made = {
        "rle-bomb": samples.rle_bytes([rle + run * 2_000_000], STORED),
        "rle-too-short": samples.rle_bytes([rle + run * 2], STORED),
        "rle-backwards": samples.rle_bytes([struct.pack("<16I", 2, 900, 64, *[0] * 13)], STORED),
        "rle-segments": samples.rle_bytes([struct.pack("<16I", 2**31, *[64] * 15)], STORED),
        "rle-without-header": samples.rle_bytes([b"\1\0\0\0"], STORED),
        "rle-frames-missing": samples.rle_bytes([rle + run * 4], STORED, NumberOfFrames=900),
    }
    header = samples.dicom_dataset(STORED)
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.PixelRepresentation = 0

    def frame(data: bytes, syntax: str) -> bytes:
        header.PixelData = encapsulate([data + b"\0" * (len(data) % 2)])
        return samples.dicom_bytes(header, syntax)

    huge = b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xf0\xff\xf0\x01\x01\x11\x00" + bytes(40)
    siz = b"\xff\x4f\xff\x51\x00\x29\0\0" + struct.pack(">8I", 2**31, 2**31, 0, 0, 64, 64, 0, 0)
    box = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
    size = struct.pack(">8I", 8, 6, 0, 0, 8, 6, 0, 0) + b"\x00\x01\x07\x01\x01"
    small = b"\xff\x4f\xff\x51\x00\x29\0\0" + size
    for name, data, syntax in (
        ("jpeg-of-4-gigapixels", huge, JPEGBaseline8Bit),
        ("jpeg-without-a-frame", b"\xff\xd8\xff\xe0\x00\x04\0\0\xff\xd9", JPEGBaseline8Bit),
        ("jpeg-of-fill-bytes", b"\xff\xd8" + b"\xff" * 3000, JPEGBaseline8Bit),
        ("jpeg-of-empty-segments", b"\xff\xd8" + b"\xff\xe1\0\0" * 3000, JPEGBaseline8Bit),
        ("jpeg-of-noise", bytes(range(256)), JPEGBaseline8Bit),
        ("jpeg-cut", jpeg.read_bytes()[-300:-200], JPEGBaseline8Bit),
        ("j2k-of-4-exapixels", siz + b"\x00\x01\x07\x01\x01" + bytes(40), JPEG2000Lossless),
        ("j2k-without-data", small + bytes(40), JPEG2000Lossless),
        ("jp2-box-without-length", box + b"\0\0\0\0ftyp" + bytes(64), JPEG2000Lossless),
        ("jp2-box-of-4-gigabytes", box + b"\xff\xff\xff\xffftyp" + bytes(64), JPEG2000Lossless),
        ("jp2-without-codestream", box, JPEG2000Lossless),
    ):
        made[name] = frame(data, syntax)
    plain = samples.deflated_bytes(STORED)
    start = plain.index(b"1.2.840.10008.1.2.1.99") + 22
    made["deflate-bomb"] = plain[:start] + mutations.deflate_bomb(1 << 30)
    made["deflate-cut"] = plain[:-20]
    many = samples.dicom_dataset(STORED)
    many.DataSetTrailingPadding = bytes(8 << 20)
    made["deflate-padding-bomb"] = samples.dicom_bytes(many, "1.2.840.10008.1.2.1.99")
    return made


def segments(words: list[int]) -> bytes:
    return struct.pack(f"<{len(words)}H", *words)


def palette(descriptor: list[int], data: bytes, segmented: bool = False) -> dict:
    tags: dict = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        tags[name + "Descriptor"] = descriptor
        tags[f"Segmented{name}Data" if segmented else name + "Data"] = data
    return tags


def table(descriptor: list[int], data: list[int]) -> dict:
    found = samples.item(LUTDescriptor=descriptor, LUTData=data, ModalityLUTType="HU")
    found["LUTDescriptor"].VR = found["LUTData"].VR = "US"
    return {"ModalityLUTSequence": samples.items(found)}


def hostile_nifti(sentinel: Path) -> dict[str, bytes]:
    """Beside the absurd headers of test_nifti: bombs, other formats, code."""
    good = samples.nifti_bytes(VOXELS)
    huge = samples.nifti_bytes(VOXELS, dim=[3, 32000, 32000, 32000, 1, 1, 1, 1])
    return {
        "empty-header": bytes(400),
        "ones": b"\xff" * 600,
        "a-pickle": pickle.dumps(Bite(sentinel)),
        "a-zipped-pickle": gzip.compress(pickle.dumps(Bite(sentinel))),
        "a-zip": zipped("../outside", bytes(99)),
        "gzip-of-nothing": gzip.compress(b""),
        "gzip-magic-alone": b"\x1f\x8b",
        "gzip-cut-in-header": gzip.compress(good)[:40],
        "gzip-wrong-checksum": gzip.compress(good)[:-8] + bytes(8),
        "gzip-bomb-of-zeros": mutations.gzip_bomb(1 << 30),
        "gzip-bomb-after-header": gzip.compress(good) + mutations.gzip_bomb(1 << 30),
        "gzip-in-gzip": gzip.compress(gzip.compress(good)),
        "dim-absurd": huge,
        "dim-absurd-zipped": gzip.compress(huge),
        "half-a-header": good[:200],
        "header-alone": good[:348],
        "one-voxel-short": good[:-2],
        "bytes-swapped-in-part": good[40:56][::-1].join((good[:40], good[56:])),
        "vox-offset-negative": samples.nifti_bytes(VOXELS, vox_offset=-400),
        "vox-offset-half": samples.nifti_bytes(VOXELS, vox_offset=352.5),
        "quaternion-nan": samples.nifti_bytes(VOXELS, sform_code=0, qform_code=1, quatern_b=np.nan),
        "quaternion-long": samples.nifti_bytes(VOXELS, sform_code=0, qform_code=1, quatern_b=9),
        "zooms-zero": samples.nifti_bytes(VOXELS, sform_code=0, qform_code=0, pixdim=[0.0] * 8),
        "zooms-nan": samples.nifti_bytes(VOXELS, sform_code=0, qform_code=0, pixdim=[np.nan] * 8),
        "affine-infinite": samples.nifti_bytes(VOXELS, srow_z=[0, 0, np.inf, 0]),
        "affine-flat": samples.nifti_bytes(VOXELS, srow_z=[1, 0, 0, 0]),
    }


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()
