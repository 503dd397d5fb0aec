"""Where a DICOM image's pixels lie in the patient: spacing, directions, order of slices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from medxfer_lab.imaging.archive.image import pointing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medxfer_lab.imaging.archive.dicom_file import DicomFile
    from medxfer_lab.imaging.archive.dicom_pixels import Layout

CENTIMETRES = 3  # PS3.3, C.8.5.5.1.15: units of an ultrasound region
_LETTERS = {"L": "left", "R": "right", "A": "front", "P": "back", "H": "head", "F": "feet"}


def describe(scan: DicomFile, found: Layout, frame: int | None, notes: list[str]) -> dict[str, Any]:
    """spacing_mm, orientation and slices, as Picture has them."""
    header = scan.header
    rows_columns = in_plane_spacing(header, notes)
    turned = directions(header)
    between, slices = None, False
    if found.frames > 1:
        between, slices = _between_frames(header, found, turned)
    if between is None:
        between = _positive(header.get("SpacingBetweenSlices"))
    if found.frames > 1 and not slices and frame is None:
        notes.append(f"{found.frames} frames, not known to be slices of a volume")
    return {
        "spacing_mm": None if rows_columns is None else (between, *rows_columns),
        "orientation": orientation(header, turned),
        "slices": slices and frame is None,
    }


def enhanced(header: Dataset) -> bool:
    """Does every frame have its own group of attributes?"""
    return bool(header.get("PerFrameFunctionalGroupsSequence"))


def functional(header: Dataset, index: int, keyword: str) -> Dataset | None:
    """The item ``keyword`` of frame ``index``'s functional groups, its own or the shared one."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*own[index : index + 1], *(header.get("SharedFunctionalGroupsSequence") or [])):
        items = groups.get(keyword)
        if items:
            return items[0]
    return None


def in_plane_spacing(header: Dataset, notes: list[str]) -> tuple[float, float] | None:
    """(between rows, between columns) in mm."""
    measures = functional(header, 0, "PixelMeasuresSequence")
    for item, keyword in (
        (measures, "PixelSpacing"),
        (header, "PixelSpacing"),
        (header, "ImagerPixelSpacing"),
        (header, "NominalScannedPixelSpacing"),
    ):
        value = None if item is None else item.get(keyword)
        if value is None:
            continue
        spacing = numbers(value, 2)
        if spacing is None or min(spacing) <= 0:
            notes.append(f"{keyword} makes no sense: spacing unknown")
            return None
        if keyword == "ImagerPixelSpacing":
            notes.append("spacing is that of the detector; the patient is magnified on it")
        return spacing[0], spacing[1]
    return _ultrasound_spacing(header, notes)


def _ultrasound_spacing(header: Dataset, notes: list[str]) -> tuple[float, float] | None:
    """The spacing that all calibrated regions of an ultrasound image share."""
    found = set()
    for region in header.get("SequenceOfUltrasoundRegions") or []:
        units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
        delta = _positive(region.get("PhysicalDeltaY")), _positive(region.get("PhysicalDeltaX"))
        if units == (CENTIMETRES, CENTIMETRES) and None not in delta:
            found.add((10 * delta[0], 10 * delta[1]))
    if len(found) == 1:
        notes.append("spacing is that of the calibrated ultrasound region")
        return found.pop()
    if found:
        notes.append(f"{len(found)} ultrasound regions of different scale: spacing unknown")
    return None


def directions(header: Dataset, index: int = 0) -> np.ndarray | None:
    """(3, 3): unit vectors along increasing column, increasing row, and their normal; or None."""
    plane = functional(header, index, "PlaneOrientationSequence")
    value = (header if plane is None else plane).get("ImageOrientationPatient")
    cosines = None if value is None else numbers(value, 6)
    if cosines is None:
        return None
    along, down = np.asarray(cosines[:3]), np.asarray(cosines[3:])
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    if not all(0.9 < length < 1.1 for length in lengths) or abs(along @ down) > 0.1:
        return None
    along, down = along / lengths[0], down / lengths[1]
    return np.stack([along, down, np.cross(along, down)])


def position(header: Dataset, index: int = 0) -> np.ndarray | None:
    """Centre of the first pixel in mm, patient axes (left, back, head)."""
    plane = functional(header, index, "PlanePositionSequence")
    value = (header if plane is None else plane).get("ImagePositionPatient")
    place = None if value is None else numbers(value, 3)
    return None if place is None else np.asarray(place)


def _between_frames(
    header: Dataset, found: Layout, turned: np.ndarray | None
) -> tuple[float | None, bool]:
    """Distance of neighbouring frames, and whether they are slices in order."""
    if turned is None or not enhanced(header):
        return None, False
    places = [position(header, index) for index in range(found.frames)]
    if any(place is None for place in places):
        return None, False
    heights = np.stack(places) @ turned[2]
    steps = np.diff(heights)
    if not (np.all(steps > 1e-3) or np.all(steps < -1e-3)):
        return None, False
    return float(np.median(np.abs(steps))), bool(np.ptp(steps) < 0.05 * np.abs(steps).max() + 1e-3)


def orientation(header: Dataset, turned: np.ndarray | None) -> str:
    """Where rows and columns of the pixel array lead, in words."""
    if turned is not None:
        return f"rows to the {pointing(turned[1])}, columns to the {pointing(turned[0])}"
    value = header.get("PatientOrientation")
    if value is not None and not isinstance(value, str) and len(value) == 2:
        along, down = (_LETTERS.get(str(letters)[:1]) for letters in value)
        if along and down:
            return f"rows to the {down}, columns to the {along}"
    return "unknown"


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers, or None."""
    try:
        found = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def _positive(value: Any) -> float | None:
    try:
        number = abs(float(value))  # ultrasound files count downwards with a negative step
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
