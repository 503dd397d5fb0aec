"""Folders of pictures with labels by subfolder or by table, and pictures read from other files."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.archive.errors import ArchiveError, refusal, shown
from medxfer_lab.imaging.archive.image import Picture
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits, check_file, guarded
from medxfer_lab.imaging.archive.raster import read_picture
from medxfer_lab.imaging.cohort import Cohort

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
TABLE_BYTES = 1 << 26
_NO_PATIENTS = "The folder gives no patient ids: a split of it cannot keep patients together."


@dataclass(frozen=True)
class _Row:
    file: Path
    name: str
    label: str
    patient: str | None


def load_folder(
    folder: str | os.PathLike,
    table: str | os.PathLike | None = None,
    patient: str | None = None,
    size: int | None = None,
    grey: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Cohort:
    """PNG, JPEG and TIFF pictures of 8 or 16 bits as a cohort.

    Labels: the name of the subfolder that a picture lies in, or, with ``table``, the column
    ``label`` of a CSV file with the columns ``file`` (relative to ``folder``), ``label`` and, where
    known, ``patient``. patient: a regular expression with one group that finds the patient in the
    file's name, e.g. ``r"(P\\d+)_"``. Two classes become 0 and 1 (n,) float32, more an (n,) int64
    index into ``classes``, which are sorted.

    size: resize every picture to size x size (area average; the aspect ratio is not kept, a note
    says so); without it pictures of different size are an error. grey: colour to grey (ITU-R
    601-2 luma, as Pillow does it). Units: "0 to 255", or "0 to 65535" for 16 bits.

    Links, and files outside ``folder``, are refused. Raises
    :class:`~medxfer_lab.imaging.archive.errors.ArchiveError`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArchiveError(f"'{folder}' is no folder; expected one with a subfolder for each class")
    rows = _from_table(folder, Path(table), limits) if table else _from_subfolders(folder, limits)
    if patient is not None:
        rows = [_with_patient(row, patient) for row in rows]
    images, units, notes = _pictures(rows, size, grey, limits)
    ids = _ids([row.patient for row in rows], folder)
    labels, classes = _classes([row.label for row in rows])
    return Cohort(
        images=images,
        labels=labels,
        patient_ids=ids,
        units=units,
        source=folder.name,
        classes=classes,
        names=tuple(row.name for row in rows),
        notes=(*notes, *(() if ids is not None else (_NO_PATIENTS,))),
    )


def cohort_from_pictures(pictures: Sequence[Picture], labels: Sequence) -> Cohort:
    """Pictures read by the other readers, one frame or one volume each, and their labels.

    All must have one size and the same units (resize, window or normalise them first). Of volumes
    images are (n, C, D, H, W). spacing_mm and patient_ids are None unless every
    picture has them.
    """
    if len(pictures) == 0 or len(pictures) != len(labels):
        raise ArchiveError(
            f"there are {len(pictures)} pictures and {len(labels)} labels; expected as many of both"
        )
    for what, found in (
        ("sizes", {tuple(p.pixels.shape) for p in pictures}),
        ("units", {p.units for p in pictures}),
    ):
        if len(found) > 1:
            raise ArchiveError(
                f"the pictures have different {what}: {sorted(found)[:4]}; expected one: bring "
                "them to the same first"
            )
    for p in pictures:
        if len(p) > 1 and not p.slices:
            raise refusal(
                p.source,
                f"has {len(p)} frames that are no slices through a volume",
                "one picture or one volume for each label",
                "choose one frame: dataclasses.replace(picture, pixels=picture.pixels[:1])",
            )
    stack = torch.stack([p.pixels for p in pictures])  # (n, frames, C, H, W)
    volume = stack.shape[1] > 1
    y, classes = _classes([str(label) for label in labels])
    notes = tuple(dict.fromkeys(note for p in pictures for note in p.notes))
    return Cohort(
        images=stack.transpose(1, 2).contiguous() if volume else stack[:, 0],
        labels=y,
        patient_ids=_ids([p.patient_id for p in pictures], "the files"),
        units=pictures[0].units,
        source=", ".join(dict.fromkeys(Path(p.source).name for p in pictures))[:200],
        spacing_mm=_spacing(pictures, volume),
        classes=classes,
        names=tuple(Path(p.source).name for p in pictures),
        notes=notes,
    )


def _spacing(pictures: Sequence[Picture], volume: bool) -> Tensor | None:
    first = 0 if volume else 1
    rows = [p.spacing_mm and p.spacing_mm[first:] for p in pictures]
    known = all(row is not None and None not in row for row in rows)
    return torch.tensor(rows, dtype=torch.float32) if known else None


def _classes(labels: list[str]) -> tuple[Tensor, tuple[str, ...]]:
    # numbers in their own order: '10' does not come before '2'
    key = (lambda s: (int(s), s)) if all(re.fullmatch(r"\d{1,9}", s) for s in labels) else None
    classes = tuple(sorted(set(labels), key=key))
    place = {name: k for k, name in enumerate(classes)}
    kind = torch.float32 if len(classes) <= 2 else torch.int64
    return torch.tensor([place[label] for label in labels], dtype=kind), classes


def _ids(patients: list[str | None], where: object) -> Tensor | None:
    """(n,) number of each patient in the order of their sorted names."""
    known = [p for p in patients if p]
    if not known:
        return None
    if len(known) < len(patients):
        raise ArchiveError(
            f"{len(patients) - len(known)} of {len(patients)} pictures of {where} have no patient; "
            "expected one for all or for none: complete them, or leave the column out"
        )
    return torch.from_numpy(np.unique(known, return_inverse=True)[1].astype(np.int64))


def _with_patient(row: _Row, pattern: str) -> _Row:
    try:
        found = re.search(pattern, row.name)
    except re.error as error:
        raise ArchiveError(f"patient is {pattern!r}, no regular expression ({error})") from None
    if found is None or not found.groups():
        raise ArchiveError(
            f"patient is {pattern!r}, which finds no group in {shown(row.name)}; expected one like "
            r"r'(P\d+)_' that fits every file name"
        )
    return _Row(row.file, row.name, row.label, found[1])


def _from_subfolders(folder: Path, limits: Limits) -> list[_Row]:
    rows = []
    for place in sorted(folder.iterdir()):
        if place.name.startswith(".") or not place.is_dir():
            continue
        for file in sorted(place.iterdir()):
            if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                rows.append(
                    _Row(_inside(folder, file), f"{place.name}/{file.name}", place.name, None)
                )
                _check_count(folder, rows, limits)
    if not rows:
        raise ArchiveError(
            f"'{folder}' has no pictures in subfolders; expected CLASS/NAME.png (or .jpg, "
            ".tif), or name a table with the columns file and label"
        )
    return rows


def _from_table(folder: Path, table: Path, limits: Limits) -> list[_Row]:
    check_file(table, Limits(file_bytes=TABLE_BYTES))
    rows = []
    with guarded(table, "reading the table"), open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        missing = {"file", "label"} - set(reader.fieldnames or ())
        if missing:
            raise refusal(
                table,
                f"has the columns {shown(reader.fieldnames)}",
                "file, label and, where known, patient",
            )
        for line in reader:
            name, label = (line["file"] or "").strip(), (line["label"] or "").strip()
            if not name or not label:
                raise refusal(table, f"line {reader.line_num} lacks its file or label")
            patient = (line.get("patient") or "").strip() or None
            rows.append(_Row(_inside(folder, folder / name, table), name, label, patient))
            _check_count(folder, rows, limits)
    if not rows:
        raise refusal(table, "has no rows", "one for each picture")
    return rows


def _check_count(folder: Path, rows: list[_Row], limits: Limits) -> None:
    if len(rows) > limits.files:
        raise refusal(folder, "has too many pictures", f"at most {limits.files:,}, Limits(files=)")


def _inside(folder: Path, file: Path, table: Path | None = None) -> Path:
    """The file, if it lies in ``folder`` and is reached through no link."""
    if not str(file).isprintable():
        raise refusal(
            table or folder, f"names {shown(str(file))}", "names that can be printed", "rename it"
        )
    said = refusal(
        table or folder,
        f"names {shown(str(file))}, which is a link or lies outside '{folder}'",
        "files within the folder",
        "copy the picture into it",
    )
    try:  # '..' is resolved on the left side alone, so it never agrees
        inside = file.resolve() == folder.resolve() / file.relative_to(folder)
    except (OSError, ValueError, RuntimeError):
        raise said from None
    if not inside:
        raise said
    return file


def _pictures(
    rows: list[_Row], size: int | None, grey: bool, limits: Limits
) -> tuple[Tensor, str, tuple[str, ...]]:
    """(n, C, H, W) float32, its units, and notes."""
    from medxfer_lab.nets.network import resize

    images, first, values, notes = [], None, 0, {}
    for row in rows:
        pixels, units, note = read_picture(row.file, grey, limits)
        notes.update(dict.fromkeys(note))
        if size is not None and tuple(pixels.shape[1:]) != (size, size):
            if pixels.shape[1] != pixels.shape[2]:
                notes["Some pictures were not square: resizing changed their aspect ratio."] = None
            pixels = resize(pixels[None], size)[0]
        kind = (tuple(pixels.shape), units)
        first = first or (kind, row.name)
        if kind != first[0]:
            raise refusal(
                row.file,
                f"is {_kind(kind)}, but {shown(first[1])} is {_kind(first[0])}",
                "pictures of one size, depth and number of channels",
                "pass size=... to resize, grey=True to drop colour; convert 16 bits beforehand",
            )
        values += pixels.numel()
        if values > limits.values:
            raise refusal(
                row.file,
                f"brings the folder to {values:,} values",
                f"at most {limits.values:,}",
                "pass size=... for smaller pictures, or Limits(values=...) with a higher number",
            )
        images.append(pixels)
    return torch.stack(images), first[0][1], tuple(notes)


def _kind(kind: tuple[tuple[int, ...], str]) -> str:
    (channels, height, width), units = kind
    return f"{height} x {width} with {channels} channel{'s' * (channels > 1)} of {units}"
