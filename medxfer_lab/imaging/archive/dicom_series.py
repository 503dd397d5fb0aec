"""A folder of DICOM slices: grouped into series, put in order, stacked into volumes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from medxfer_lab.imaging.archive import dicom_geometry as geometry
from medxfer_lab.imaging.archive.dicom import LOGGERS, picture_of, read_dicom
from medxfer_lab.imaging.archive.dicom_file import PREAMBLE, DicomFile, parse
from medxfer_lab.imaging.archive.dicom_pixels import Layout, layout
from medxfer_lab.imaging.archive.errors import refusal, shown
from medxfer_lab.imaging.archive.image import Picture, pointing
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits, guarded, opened, quiet

GAP = 1.5  # a step of more than this many usual steps is called a gap
PARALLEL = 0.01  # directions that differ by less, in each component, are one
UNEVEN = 0.05  # steps that differ by a larger share of the usual one are noted


def read_folder_of_dicom(
    folder: str | os.PathLike, *, rescale: bool = True, limits: Limits = DEFAULT_LIMITS
) -> list[Picture]:
    """Read every DICOM image below a folder: a volume for each series of slices, in order.

    Files belong together when they share SeriesInstanceUID and the direction of their slices (a
    localiser has several: each becomes a volume of its own). Slices are sorted along the normal of
    their plane, by ImagePositionPatient. A single image, a cine, or an image without a position
    becomes a Picture of its own. Files that are not DICOM, and DICOM files without pixels (a
    DICOMDIR, a report), are left out; the first picture's notes say how many.

    Returns Pictures sorted by patient and series; several patients may share the folder.
    Raises ArchiveError if a file cannot be read, if slices of a series differ in size, spacing or
    units, if two lie in one place, or if there is no image at all: a volume with a slice missing
    would look whole.
    """
    slices, left_out = _slices(folder, limits)
    if not slices:
        raise refusal(
            folder,
            f"holds no DICOM image ({left_out} other files)",
            "DICOM files with pixels",
            "for PNG or JPEG files use the reader of image folders",
        )
    pictures = []
    for series in _by_series(slices):
        parts = _by_direction(series)
        for members in parts:
            picture = _picture(folder, members, rescale, limits)
            if len(parts) > 1:
                note = f"its series holds {len(parts)} stacks or single images, read one by one"
                picture = replace(picture, notes=(*picture.notes, note))
            pictures.append(picture)
    if left_out:
        note = f"{left_out} files of the folder hold no DICOM image and were left out"
        pictures[0] = replace(pictures[0], notes=(*pictures[0].notes, note))
    return pictures


@dataclass(frozen=True)
class _Slice:
    """A file's place, from its header; the pixels stay on disk.

    series: (patient, series) it belongs to. turned: directions of its axes, None if it is an image
    of its own. height: mm along the normal.
    """

    path: Path
    series: tuple[str, str]
    found: Layout
    spacing: tuple[float, float] | None
    place: np.ndarray | None
    turned: np.ndarray | None

    @property
    def height(self) -> float:
        return float(self.place @ self.turned[2])


def _slices(folder: str | os.PathLike, limits: Limits) -> tuple[list[_Slice], int]:
    """Every image below the folder, and how many files are none."""
    slices, left_out = [], 0
    for path in _files(folder, limits):
        with quiet(*LOGGERS), guarded(path, "reading its DICOM header"):
            scan = parse(path, limits) if _is_dicom(path, limits) else None
            if scan is None or scan.keyword is None:
                left_out += 1
            else:
                slices.append(_slice(path, scan, layout(scan, limits)))
    return slices, left_out


def _files(folder: str | os.PathLike, limits: Limits) -> list[Path]:
    """The folder's files in a fixed order; links are not followed, hidden files left alone."""
    if not Path(folder).is_dir():
        raise refusal(folder, "is no folder", "a folder of DICOM files")
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=_unreadable, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(root, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.is_file() and path.stat().st_size > 0]
        if len(found) > limits.files:
            raise refusal(
                folder,
                f"holds more than {limits.files:,} files",
                f"at most {limits.files:,}",
                "read its folders one by one, or pass Limits(files=...) with a higher number",
            )
    return found


def _unreadable(error: OSError) -> None:
    raise refusal(error.filename, f"cannot be listed ({error.strerror})", "a readable folder")


def _is_dicom(path: Path, limits: Limits) -> bool:
    with opened(path, limits) as file:
        return file.read(PREAMBLE)[128:] == b"DICM"


def _slice(path: Path, scan: DicomFile, found: Layout) -> _Slice:
    header = scan.header
    place, turned = geometry.position(header), geometry.directions(header)
    series = str(header.get("SeriesInstanceUID") or "")
    patient = str(header.get("PatientID") or "")
    if place is None or found.frames > 1 or not series:
        turned = None
    spacing = geometry.in_plane_spacing(header, [])
    return _Slice(path, (patient, series), found, spacing, place, turned)


def _by_series(slices: list[_Slice]) -> list[list[_Slice]]:
    groups: dict[tuple[str, str], list[_Slice]] = defaultdict(list)
    for one in slices:
        groups[one.series].append(one)
    return [groups[key] for key in sorted(groups)]


def _by_direction(series: list[_Slice]) -> list[list[_Slice]]:
    """Stacks of parallel slices, and images of their own, in the order of the files."""
    stacks: list[list[_Slice]] = []
    for one in series:
        for stack in stacks if one.turned is not None else []:
            first = stack[0].turned
            if first is not None and np.abs(one.turned - first).max() < PARALLEL:
                stack.append(one)
                break
        else:
            stacks.append([one])
    return stacks


def _picture(
    folder: str | os.PathLike, members: list[_Slice], rescale: bool, limits: Limits
) -> Picture:
    if len(members) == 1:
        return read_dicom(members[0].path, rescale=rescale, limits=limits)
    return _volume(folder, members, rescale, limits)


def _volume(
    folder: str | os.PathLike, members: list[_Slice], rescale: bool, limits: Limits
) -> Picture:
    """Slices of one series and direction as one Picture."""
    members = sorted(members, key=lambda one: one.height)
    first = members[0]
    for one in members[1:]:
        _same(one.path, "size", _size(one.found), _size(first.found))
        _same(one.path, "spacing", one.spacing, first.spacing)
        kinds = one.found.photometric, first.found.photometric
        _same(one.path, "photometric interpretation", *kinds)
    channels = 3 if first.found.photometric == "PALETTE COLOR" else first.found.samples
    limits.check_shape(
        folder, (len(members), channels, first.found.rows, first.found.columns), "the series"
    )
    between, notes = _steps(folder, members)
    pixels, pictures = None, []
    for place, one in enumerate(members):
        with quiet(*LOGGERS), guarded(one.path, "reading it as DICOM"):
            picture = picture_of(parse(one.path, limits), rescale, False, None, limits)
        if pixels is None:
            pixels = torch.empty(len(members), *picture.pixels.shape[1:])
        pixels[place] = picture.pixels[0]
        pictures.append(replace(picture, pixels=picture.pixels[:, :, :1, :1].clone()))
        _same(one.path, "units", picture.units, pictures[0].units)
    shared = [n for n in pictures[0].notes if all(n in other.notes for other in pictures)]
    scales = {tuple(n for n in other.notes if n.startswith("rescaled")) for other in pictures}
    if len(scales) > 1:
        shared.append("rescaled slice by slice: slopes or intercepts differ")
    spacing = None if first.spacing is None else (between, *first.spacing)
    return replace(
        pictures[0],
        pixels=pixels,
        source=os.fspath(folder),
        spacing_mm=spacing,
        slices=True,
        notes=(*shared, *notes),
    )


def _size(found: Layout) -> str:
    return f"{found.rows} x {found.columns} x {found.samples}"


def _same(path: Path, what: str, value: object, first: object) -> None:
    same = value == first
    if isinstance(value, tuple) and isinstance(first, tuple):
        same = np.allclose(value, first, rtol=1e-3)
    if not same:
        raise refusal(
            path,
            f"its {what} is {shown(value)}",
            f"{shown(first)} as in the series' first slice",
            "the series is mixed: read its files one by one with read_dicom",
        )


def _steps(folder: str | os.PathLike, members: Sequence[_Slice]) -> tuple[float, list[str]]:
    """The usual distance between slices, and what is odd about the others."""
    heights = np.array([one.height for one in members])
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if steps.min() < 1e-3:
        place = int(steps.argmin())
        raise refusal(
            members[place + 1].path,
            f"lies in the same place as '{members[place].path.name}'",
            "one slice at each position",
            "a series over time, or of several echoes: read its files one by one with read_dicom",
        )
    normal = members[0].turned[2]
    notes = [f"{len(members)} slices sorted towards the {pointing(normal)}"]
    if steps.max() > GAP * usual:
        places = [
            f"{heights[i]:g} and {heights[i + 1]:g}" for i in np.flatnonzero(steps > GAP * usual)
        ]
        notes.append(f"gap: slices seem to be missing between {', '.join(places[:5])} mm")
    elif np.ptp(steps) > UNEVEN * usual:
        notes.append(f"uneven slices: {steps.min():g} to {steps.max():g} mm apart")
    travel = members[-1].place - members[0].place
    sideways = float(np.linalg.norm(travel - (travel @ normal) * normal))
    if sideways > 0.1 * usual:
        notes.append(f"tilted gantry: slices shift sideways by {sideways:.1f} mm, not corrected")
    return usual, notes
