"""NIfTI volumes: the header checked before the voxels, turned to one orientation."""

from __future__ import annotations

import math
import os
from dataclasses import replace
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
from medxfer_lab.imaging.archive.nifti_header import Form, first_bytes, form_of, parse_header

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

LOGGERS = ("nibabel", "nibabel.global")
SLACK = 1 << 16  # bytes allowed after the voxels: padding
GZIP = b"\x1f\x8b"
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
            header = parse_header(path, first_bytes(path, file, zipped, limits))
            form = form_of(path, header, volume, limits)
            data = _voxels(path, file, zipped, form, limits)
        pixels, notes = _values(path, header, form, data, nan)
        del data
        affine, notes = _affine(path, header, notes)
        picture = _picture(path, pixels, affine, form, canonical, notes)
    return replace(picture, notes=(*picture.notes, *(f"nibabel: {line}" for line in said[:3])))


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
