"""NIfTI volumes: the header checked before the voxels, turned to one orientation."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch

from medxfer_lab.imaging.archive.errors import refusal, shown
from medxfer_lab.imaging.archive.image import Picture, check_finite
from medxfer_lab.imaging.archive.limits import (
    DEFAULT_LIMITS,
    Clipped,
    Limits,
    guarded,
    inflated,
    opened,
    quiet,
)

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

LOGGERS = ("nibabel", "nibabel.global")
SLACK = 1 << 16  # bytes allowed after the voxels: padding
GZIP = b"\x1f\x8b"
RGB = 128
TYPES = {  # NIfTI's codes for what a voxel is
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", RGB: "u1", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8",
}  # fmt: skip
REFUSED = {
    1: "binary", 32: "complex", 1536: "128-bit float", 1792: "complex", 2048: "complex",
    2304: "RGBA",
}  # fmt: skip
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # metres, millimetres, micrometres


def read_nifti(
    path: str | os.PathLike,
    *,
    volume: int | None = None,
    canonical: bool = True,
    nan: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Picture:
    """Read one .nii or .nii.gz file (NIfTI-1 or NIfTI-2).

    Stored numbers v become slope * v + intercept where the header gives a slope. The volume is
    turned (axes exchanged and mirrored, never resampled) so that slices go from foot to head, rows
    from front to back and columns from the patient's left to right, as in the simulated volumes.
    spacing_mm comes from the affine.

    volume: which volume of a 4D file (from 0); without it such a file is refused.
    canonical: False keeps the axes as stored: slices are the third, rows the second, columns the
    first. nan: put this value where the file holds NaN; without it such a file is refused.
    limits: the most that the file may take; a compressed file is unpacked only as far as its
    header announces.
    Returns a Picture with pixels (slices, C, rows, columns) float32; C is 3 for RGB, else 1.
    Raises ArchiveError for everything that cannot be read so.

    Source: nifti1.h of the NIfTI-1 standard (fields dim, datatype, pixdim, scl_slope, qform and
    sform); affines as nibabel reads them.
    """
    with quiet(*LOGGERS) as said, guarded(path, "reading it as NIfTI"):
        with opened(path, limits) as file:
            zipped = file.read(2) == GZIP
            header = _header(path, _head(path, file, zipped, limits))
            form = _form(path, header, volume, limits)
            data = _voxels(path, file, zipped, form, limits)
        pixels, notes = _values(path, header, form, data, nan)
        del data
        affine, notes = _affine(path, header, notes)
        picture = _picture(path, pixels, affine, form, canonical, notes)
    return replace(picture, notes=(*picture.notes, *(f"nibabel: {line}" for line in said[:3])))


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


def _head(path: str | os.PathLike, file: BinaryIO, zipped: bool, limits: Limits) -> bytes:
    """The first bytes, enough for either version's header."""
    file.seek(0)
    return inflated(file, path, 540, 31, short=True) if zipped else file.read(540)


def _header(path: str | os.PathLike, head: bytes) -> Nifti1Header:
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


def _form(
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
        raise ValueError(f"volume is {volume}; '{path}' has volumes 0 to {volumes - 1}")
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


def _voxels(
    path: str | os.PathLike, file: BinaryIO, zipped: bool, form: Form, limits: Limits
) -> bytes:
    """The wanted volume's bytes, and no more than the header announces."""
    file.seek(0)
    if zipped:
        most = min(form.end + SLACK, limits.inflated_bytes)
        whole = inflated(file, path, most, 31)
        data = memoryview(whole)[form.start : form.stop]
        found = len(whole)
    else:
        found = Clipped(file, path).size
        file.seek(form.start)
        data = file.read(form.stop - form.start) if found >= form.stop else b""
    if found < form.end:
        raise refusal(
            path,
            f"holds {found:,} bytes",
            f"{form.end:,} for the voxels that its header announces",
            "it was cut short, or its header is damaged: fetch it again",
        )
    return data


def _values(
    path: str | os.PathLike, header: Nifti1Header, form: Form, data: bytes, nan: float | None
) -> tuple[torch.Tensor, list[str]]:
    """(C, columns, rows, slices) float32, scaled; and what was done."""
    notes = ["NIfTI files carry no patient id: a split by patient needs one from elsewhere"]
    if form.volumes > 1:
        notes.append(f"volume {form.volume} of {form.volumes}")
    voxels = np.frombuffer(data, form.dtype)
    if form.colours == 3:
        voxels = voxels.reshape(3, *form.shape, order="F")
    else:
        voxels = voxels.reshape(1, *form.shape, order="F")
    slope, shift = _scaling(path, header)
    if form.colours == 1 and (slope, shift) != (1.0, 0.0):
        notes.append(f"scaled: {slope:g} v {shift:+g}")
        with np.errstate(over="ignore", invalid="ignore"):
            values = (voxels * np.float64(slope) + shift).astype(np.float32)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            values = voxels.astype(np.float32)
    pixels = torch.from_numpy(values)
    missing = torch.isnan(pixels)
    if nan is not None and missing.any():
        notes.append(f"{int(missing.sum()):,} voxels were NaN and became {nan:g}")
        pixels[missing] = nan
    return check_finite(path, pixels), notes


def _scaling(path: str | os.PathLike, header: Nifti1Header) -> tuple[float, float]:
    """scl_slope and scl_inter; a slope of 0 or NaN means that there is none."""
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(shift)):
        raise refusal(
            path, f"its scl_slope is {slope:g}, its scl_inter {shift:g}", "finite numbers"
        )
    return slope, shift


def _affine(
    path: str | os.PathLike, header: Nifti1Header, notes: list[str]
) -> tuple[np.ndarray, list[str]]:
    """From voxel (column, row, slice) to mm, axes right, front, head."""
    affine = np.asarray(header.get_best_affine(), dtype=float)
    if not (int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0):
        notes = [*notes, "orientation not given (no sform, no qform): taken as radiological"]
    unit = int(header["xyzt_units"]) & 7
    if unit in MILLIMETRES:
        affine[:3] *= MILLIMETRES[unit]
    else:
        notes = [*notes, "unit of length not given: taken as mm"]
    spread = np.linalg.svd(affine[:3, :3], compute_uv=False) if np.isfinite(affine).all() else [0.0]
    if not min(spread) > 1e-6 * max(spread):
        raise refusal(
            path,
            f"its affine is {shown(affine[:3].round(3).tolist(), 120)}",
            "three independent axes",
        )
    return affine, notes


def _picture(
    path: str | os.PathLike,
    pixels: torch.Tensor,
    affine: np.ndarray,
    form: Form,
    canonical: bool,
    notes: list[str],
) -> Picture:
    """Turn (C, columns, rows, slices) to (slices, C, rows, columns)."""
    from nibabel.orientations import aff2axcodes, io_orientation

    turn = io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(affine[:3, :3] / spacing).max(axis=0)
    if canonical:
        axes = [int(np.flatnonzero(turn[:, 0] == axis)[0]) for axis in range(3)]
        pixels = pixels.permute(0, *(axis + 1 for axis in axes))
        mirrored = [place + 1 for place in range(3) if turn[axes[place], 1] < 0]
        # rows lead from front to back: against the second axis of RAS+
        pixels = pixels.flip([place for place in (1, 2, 3) if (place in mirrored) != (place == 2)])
        spacing = spacing[axes]
        stored = "".join(aff2axcodes(affine))
        notes = [*notes, f"axes stored as {stored}, turned to slices I-S, rows A-P, columns L-R"]
        lead = "rows to the back, columns to the right"
    else:
        names = dict(zip("RLAPSI", ("right", "left", "front", "back", "head", "feet")))
        columns, rows, _ = (names[letter] for letter in aff2axcodes(affine))
        lead = f"rows to the {rows}, columns to the {columns}"
    if min(cosines) < 0.999:
        lead += " (oblique)"
    return Picture(
        pixels=pixels.permute(3, 0, 2, 1).contiguous(),
        units="colour 0-255" if form.colours == 3 else "stored values",
        source=os.fspath(path),
        spacing_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        orientation=lead,
        slices=form.shape[2] > 1,
        notes=tuple(notes),
    )
