"""A NIfTI header, every number checked before it is used."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from medxfer_lab.imaging.archive.errors import refusal
from medxfer_lab.imaging.archive.limits import Limits, inflated

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

RGB = 128
TYPES = {  # NIfTI's codes for what a voxel is
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", RGB: "u1", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8",
}  # fmt: skip
REFUSED = {
    1: "binary", 32: "complex", 1536: "128-bit float", 1792: "complex", 2048: "complex",
    2304: "RGBA",
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """What the header announces. start, stop: bytes of the wanted volume's voxels.

    shape: (columns, rows, slices) as stored. colours: 3 for RGB, else 1.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    colours: int
    start: int
    stop: int
    end: int
    volumes: int
    volume: int


def first_bytes(path: str | os.PathLike, file: BinaryIO, zipped: bool, limits: Limits) -> bytes:
    """The first bytes, enough for either version's header."""
    file.seek(0)
    return inflated(file, path, 540, 31, short=True) if zipped else file.read(540)


def parse_header(path: str | os.PathLike, head: bytes) -> Nifti1Header:
    from nibabel import Nifti1Header, Nifti2Header

    if head[344:348] in (b"n+1\0", b"ni1\0") and len(head) >= 348:
        kind, size = Nifti1Header, 348
    elif head[4:8] in (b"n+2\0", b"ni2\0") and len(head) >= 540:
        kind, size = Nifti2Header, 540
    else:
        raise refusal(
            path,
            "is no NIfTI file (no 'n+1' or 'n+2' in its header)",
            "a .nii or .nii.gz file",
            "Analyze, MGH or MINC files have to be converted first",
        )
    if b"ni" in (head[344:346], head[4:6]):
        raise refusal(
            path,
            "is the header of a pair of files (.hdr and .img)",
            "one .nii or .nii.gz file",
            "join them with nibabel.save(nibabel.load(...), 'volume.nii')",
        )
    header = kind(head[:size], check=False)
    if int(header["sizeof_hdr"]) != size:
        raise refusal(path, f"its sizeof_hdr is {int(header['sizeof_hdr'])}", f"{size}")
    return header


def form_of(
    path: str | os.PathLike, header: Nifti1Header, volume: int | None, limits: Limits
) -> Form:
    """Check every number of the header that says where the voxels are."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code not in TYPES:
        raise refusal(
            path,
            f"its voxels are of type {REFUSED.get(code, 'unknown')} (datatype {code})",
            "integers, floats or RGB",
            "save the magnitude, or the colours without alpha, as a NIfTI file of its own",
        )
    dtype = np.dtype(TYPES[code]).newbyteorder(header.endianness)
    colours = 3 if code == RGB else 1
    if bits != dtype.itemsize * colours * 8:
        raise refusal(path, f"its bitpix is {bits}", f"{dtype.itemsize * colours * 8}")
    shape, volumes = _shape(path, header)
    limits.check_shape(path, (shape[2], colours, shape[1], shape[0]), "a volume")
    if volumes > 1 and volume is None:
        raise refusal(
            path,
            f"holds {volumes:,} volumes (4D)",
            "one volume",
            f"choose one: read_nifti(path, volume=i) with i from 0 to {volumes - 1}",
        )
    volume = volume or 0
    if not 0 <= volume < volumes:
        raise refusal(path, f"volume {volume} was asked for", f"0 to {volumes - 1}")
    offset = float(header["vox_offset"])
    smallest = int(header["sizeof_hdr"])
    if not (smallest <= offset <= limits.header_bytes and offset == int(offset)):
        raise refusal(path, f"its vox_offset is {offset:g}", f"a whole number from {smallest} on")
    size = math.prod(shape) * dtype.itemsize * colours
    start = int(offset) + volume * size
    return Form(
        shape, dtype, colours, start, start + size, int(offset) + volumes * size, volumes, volume
    )


def _shape(path: str | os.PathLike, header: Nifti1Header) -> tuple[tuple[int, int, int], int]:
    """((columns, rows, slices), volumes)"""
    dim = [int(size) for size in header["dim"]]
    if not 2 <= dim[0] <= 7:
        raise refusal(path, f"its dim[0] is {dim[0]}", "2 to 7 axes")
    sizes = dim[1 : dim[0] + 1]
    if min(sizes) < 1:
        raise refusal(path, f"its axes are {sizes}", "sizes of at least 1")
    sizes += [1] * (7 - len(sizes))
    if any(size > 1 for size in sizes[4:]):
        raise refusal(
            path,
            f"its axes are {sizes}",
            "up to four axes",
            "a file of vectors or tensors: save one component as a volume",
        )
    return (sizes[0], sizes[1], sizes[2]), sizes[3]
