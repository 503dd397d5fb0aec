"""DICOM images: pixels in their units, the right way up, with what the header says about them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from medxfer_lab.imaging.archive import dicom_geometry as geometry
from medxfer_lab.imaging.archive.dicom_file import DicomFile, parse
from medxfer_lab.imaging.archive.dicom_pixels import Layout, decoded, layout
from medxfer_lab.imaging.archive.errors import refusal, shown
from medxfer_lab.imaging.archive.image import Picture, check_finite
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits, guarded, quiet
from medxfer_lab.imaging.archive.lookup import Table, modality_table, palette_table
from medxfer_lab.imaging.windows import Window

LOGGERS = ("pydicom",)
MOST_WARNINGS = 3  # of a library, among a picture's notes


def read_dicom(
    path: str | os.PathLike,
    *,
    rescale: bool = True,
    keep_monochrome1: bool = False,
    frame: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Picture:
    """Read one DICOM file: CT, MR, radiograph, ultrasound, cine, colour.

    Stored integers v become slope * v + intercept (or the entry of the modality table), per frame
    where the file says so: Hounsfield units for CT. MONOCHROME1, where low values are shown
    bright, is mirrored about the middle of its range, so that bright means more in every picture
    (``keep_monochrome1``: not). Palette colours and YBR become RGB. ``notes`` lists what was done.

    rescale: False gives the stored values. frame: only this frame of a cine (from 0).
    limits: the most that the file may take; checked against the header before anything is decoded.
    Returns a Picture with pixels (frames, C, rows, columns) float32.
    Raises ArchiveError for everything that cannot be read as a picture: no pixel data, a damaged
    or truncated file, a compression for which no decoder is installed (it names the package).

    Source: DICOM PS3.3, C.7.6.3 (image pixels), C.11.1 (modality LUT), C.11.2 (windows).
    """
    with quiet(*LOGGERS) as said, guarded(path, "reading it as DICOM"):
        scan = parse(path, limits)
        picture = picture_of(scan, rescale, keep_monochrome1, frame, limits)
    warned = [f"pydicom: {line}" for line in said[:MOST_WARNINGS]]
    if len(said) > MOST_WARNINGS:
        warned.append(f"pydicom: {len(said) - MOST_WARNINGS} more warnings")
    return replace(picture, notes=(*picture.notes, *warned))


@dataclass(frozen=True)
class Scale:
    """From a stored value v to units: table(v), or slope * v + intercept of frame i."""

    slopes: tuple[float, ...] = (1.0,)
    intercepts: tuple[float, ...] = (0.0,)
    table: Table | None = None
    units: str = "stored values"
    note: str | None = None

    @property
    def identity(self) -> bool:
        return self.table is None and set(self.slopes) == {1.0} and set(self.intercepts) == {0.0}

    def __call__(self, stored: np.ndarray, frame: int) -> np.ndarray:
        if self.table is not None:
            return self.table(stored).astype(np.float64)
        slope = self.slopes[frame % len(self.slopes)]
        return stored.astype(np.float64) * slope + self.intercepts[frame % len(self.intercepts)]


def picture_of(
    scan: DicomFile, rescale: bool, keep_monochrome1: bool, frame: int | None, limits: Limits
) -> Picture:
    """The picture of a parsed file."""
    found = layout(scan, limits)
    if frame is not None and not 0 <= frame < found.frames:
        raise refusal(scan.path, f"frame {frame} was asked for", f"0 to {found.frames - 1}")
    header, notes = scan.header, []
    given = scale_of(scan, found)
    scale = given if rescale else Scale()
    palette = palette_table(scan) if found.photometric == "PALETTE COLOR" else None
    windows = _windows(scan, notes) if rescale or given.identity else ()
    if scale.note:
        notes.append(scale.note)
    units = scale.units if found.samples == 1 else f"colour 0-{found.value_range[1]}"
    if palette is not None:
        units, windows = f"colour 0-{palette.top}", ()
        notes.append("palette colours looked up as RGB")
    elif found.photometric.startswith("YBR"):
        notes.append(f"{found.photometric} converted to RGB")
    if found.integers and found.stored > 24:
        notes.append(f"{found.stored} bits stored; float32 keeps 24 of them")
    pixels = _pixels(scan, found, scale, palette, frame, limits)
    picture = Picture(
        pixels=check_finite(scan.path, pixels),
        units=units,
        source=scan.path,
        patient_id=_patient(header, notes),
        modality=_text(header, "Modality"),
        photometric=found.photometric,
        padding=_padding(header, found, scale, notes) if palette is None else None,
        windows=windows,
        **geometry.describe(scan, found, frame, notes),
        notes=tuple(notes),
    )
    if found.photometric == "MONOCHROME1":
        return _bright_is_more(picture, found, scale, keep_monochrome1)
    return picture


def _pixels(
    scan: DicomFile,
    found: Layout,
    scale: Scale,
    palette: Table | None,
    frame: int | None,
    limits: Limits,
) -> torch.Tensor:
    """(frames, C, rows, columns) float32, filled a frame at a time."""
    frames = list(range(found.frames)) if frame is None else [frame]
    channels = 3 if palette is not None else found.samples
    arrays: Iterator[np.ndarray] = decoded(scan, found, limits, frame)
    pixels, place = None, -1
    for place, (index, stored) in enumerate(zip(frames, arrays)):
        if pixels is None:  # only now: the first frame could be decoded
            pixels = torch.empty(len(frames), channels, found.rows, found.columns)
        values = palette(stored[..., 0]) if palette is not None else stored
        if palette is None and found.samples == 1:
            values = scale(stored, index)
        with np.errstate(over="ignore"):  # what float32 cannot hold is found by check_finite
            channel_first = values.transpose(2, 0, 1).astype(np.float32)
        pixels[place] = torch.from_numpy(channel_first)
    if pixels is None or place + 1 < len(frames):
        raise refusal(scan.path, f"only {place + 1} frames could be decoded", f"{len(frames)}")
    return pixels


def scale_of(scan: DicomFile, found: Layout) -> Scale:
    """Modality table, rescale slope and intercept, or dose scaling: what the header gives."""
    if found.samples != 1 or found.photometric == "PALETTE COLOR":
        return Scale()
    modality = _text(scan.header, "Modality")
    table = modality_table(scan) if found.integers else None
    if table is not None:
        units = _unit_name(table[1], modality)
        return Scale(table=table[0], units=units, note=f"modality table applied: {units}")
    if modality == "RTDOSE" and "DoseGridScaling" in scan.header:
        factor = _finite(scan, "DoseGridScaling", scan.header.get("DoseGridScaling"))
        units = {"GY": "Gy"}.get(_text(scan.header, "DoseUnits") or "", "relative dose")
        return Scale((factor,), (0.0,), units=units, note=f"dose = {factor:g} x stored value")
    items = [
        geometry.functional(scan.header, index, "PixelValueTransformationSequence")
        for index in (range(found.frames) if geometry.enhanced(scan.header) else [0])
    ]
    items = [scan.header if item is None else item for item in items]
    if not all("RescaleSlope" in item and "RescaleIntercept" in item for item in items):
        return Scale()
    slopes = [_finite(scan, "RescaleSlope", item.get("RescaleSlope")) for item in items]
    shifts = [_finite(scan, "RescaleIntercept", item.get("RescaleIntercept")) for item in items]
    if 0.0 in slopes:
        raise refusal(scan.path, "its RescaleSlope is 0", "a slope that keeps the picture")
    units = _unit_name(_text(items[0], "RescaleType"), modality, scan)
    many = len(set(zip(slopes, shifts))) > 1
    formula = "slope and intercept of each frame" if many else f"{slopes[0]:g} v {shifts[0]:+g}"
    return Scale(tuple(slopes), tuple(shifts), units=units, note=f"rescaled to {units}: {formula}")


def _unit_name(kind: str | None, modality: str | None, scan: DicomFile | None = None) -> str:
    """DICOM's rescale types by name (PS3.3, C.11.1.1.2); CT without one means Hounsfield units."""
    if modality == "PT" and scan is not None and _text(scan.header, "Units"):
        return str(_text(scan.header, "Units"))
    if kind == "HU" or (modality == "CT" and kind in (None, "US")):
        return "HU"
    if kind == "OD":
        return "optical density x 1000"
    return "unspecified" if kind in (None, "US") else shown(kind, 32).strip("'")


def _finite(scan: DicomFile, keyword: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise refusal(scan.path, f"its {keyword} is {shown(value)}", "a finite number")
    return number


def _bright_is_more(picture: Picture, found: Layout, scale: Scale, keep: bool) -> Picture:
    """Mirror x -> m - x about the middle of the range of values that can be stored."""
    if keep:
        note = "MONOCHROME1 kept: low values are meant to be shown bright"
        return replace(picture, notes=(*picture.notes, note))
    if found.integers:
        ends = np.asarray(found.value_range)
        low, high = scale(ends, 0) if scale.table is None else scale.table.values[[0, -1]]
        mirror = float(low) + float(high)
    else:
        mirror = float(picture.pixels.min()) + float(picture.pixels.max())
    windows = tuple(
        replace(w, center=mirror - w.center + (0 if w.exact else 1)) for w in picture.windows
    )
    note = f"MONOCHROME1 inverted so that bright is more: {mirror:g} - x"
    return replace(
        picture,
        pixels=mirror - picture.pixels,
        units=f"{picture.units}, inverted",
        padding=None if picture.padding is None else mirror - picture.padding,
        windows=windows,
        notes=(*picture.notes, note),
    )


def _windows(scan: DicomFile, notes: list[str]) -> tuple[Window, ...]:
    """Window centres and widths, the header's or the first frame's."""
    item = geometry.functional(scan.header, 0, "FrameVOILUTSequence")
    item = scan.header if item is None else item
    centers, widths, names = (
        _values(item, keyword)
        for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation")
    )
    exact = _text(item, "VOILUTFunction") == "LINEAR_EXACT"
    if _text(item, "VOILUTFunction") == "SIGMOID":
        notes.append("its windows are meant for a sigmoid; given here as linear ones")
    if item.get("VOILUTSequence"):
        notes.append("its display table (VOI LUT) is left out")
    windows = []
    for place, (center, width) in enumerate(zip(centers, widths)):
        name = str(names[place])[:64].strip() if place < len(names) else ""
        try:
            windows.append(Window(float(center), float(width), name, exact))
        except (TypeError, ValueError):
            notes.append(f"window {shown(center)} wide {shown(width)} makes no sense: left out")
    return tuple(windows)


def _values(item, keyword: str) -> list:
    from pydicom.multival import MultiValue

    value = item.get(keyword)
    if value is None:
        return []
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]


def _padding(header, found: Layout, scale: Scale, notes: list[str]) -> float | None:
    """The value of pixels outside the scanner's circle, in units."""
    value = header.get("PixelPaddingValue")
    if not isinstance(value, int) or not found.integers or found.samples != 1:
        return None
    if found.signed and value >= 1 << (found.allocated - 1):
        value -= 1 << found.allocated
    padding = float(scale(np.asarray(value), 0))
    notes.append(f"pixels of {padding:g} are padding: never measured")
    return padding


def _patient(header, notes: list[str]) -> str | None:
    patient = _text(header, "PatientID")
    if patient is None:
        notes.append("no patient id: a split by patient cannot be checked")
    return patient


def _text(header, keyword: str) -> str | None:
    """A text element without its padding; None where it is missing or empty."""
    value = header.get(keyword)
    return (str(value).strip().strip("\x00") or None) if value is not None else None
