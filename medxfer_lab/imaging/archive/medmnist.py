"""Data sets in the npz layouts that the field shares, as cohorts.

MedMNIST's: ``train_images``, ``train_labels``, and the same for val and test. The flat one:
``images``, ``labels`` and, where known, ``classes``, ``names``, ``patients``.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.archive import catalogue, npz
from medxfer_lab.imaging.archive.errors import ArchiveError, refusal
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits
from medxfer_lab.imaging.archive.partition import duplicates
from medxfer_lab.imaging.cohort import Cohort

#: largest value of an image by its type in the file -> units
_UNITS = {"uint8": (255, "0 to 255"), "uint16": (65535, "0 to 65535")}
_NO_PATIENTS = "The file gives no patient ids: a split of it cannot keep patients together."


class NotPublished(UserWarning):
    """A file bears the name of a published data set and is another file."""


def load(
    name: str,
    split: str = "train",
    size: int = 28,
    folder: str | os.PathLike | None = None,
    most: int | None = None,
    seed: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> Cohort:
    """One part of a MedMNIST data set, images (n, C, size, size) or (n, 1, size, size, size).

    name: e.g. ``"pneumoniamnist"``. split: ``"train"``, ``"val"`` or ``"test"``, as published.
    folder: where the file lies; by default MEDXFER_DATA or the course's own folder, where
    ``medxfer data fetch`` puts it. most: at most so many images, drawn from ``seed``; memory is
    theirs alone. Values are 0 to 255; labels as published, see :class:`Cohort`.

    A file whose MD5 is not the published one is read with a note in the cohort and the warning
    :class:`NotPublished`. Raises :class:`~medxfer_lab.imaging.archive.errors.ArchiveError`.
    """
    entry = catalogue.entry(name)
    if split not in catalogue.SPLITS:
        raise ArchiveError(f"split is {split!r}; the splits are {', '.join(catalogue.SPLITS)}")
    path = catalogue.find(entry.filename(size), folder)
    if path is None:
        places = " or ".join(map(str, catalogue.folders(folder)))
        raise ArchiveError(
            f"{entry.filename(size)} is not in {places}: `medxfer data fetch {name} --size {size}` "
            "gets it, or set MEDXFER_DATA to the folder that holds it"
        )
    if limits == DEFAULT_LIMITS:  # more, or less, than usual: what this set can hold
        bound = entry.most_bytes(size)
        limits = replace(limits, file_bytes=bound, inflated_bytes=bound)
    notes = _published_note(path, entry, size)
    images, labels = _arrays(path, f"{split}_images", f"{split}_labels", limits, most, seed)
    if images.shape[1:] != entry.shape(size) or images.dtype != np.uint8:
        raise refusal(
            path,
            f"{split}_images are {images.dtype} of shape {images.shape}",
            f"uint8 (n, {', '.join(map(str, entry.shape(size)))}), as published",
        )
    return Cohort(
        images=_channels_first(images, entry.axes),
        labels=_labels(path, labels, entry.task, len(entry.classes)),
        patient_ids=None,
        units="0 to 255",
        source=f"{path.name} ({split}), MedMNIST, {entry.licence}",
        classes=entry.classes,
        notes=(*notes, _NO_PATIENTS),
    )


def load_file(
    path: str | os.PathLike,
    split: str | None = None,
    axes: int = 2,
    limits: Limits = DEFAULT_LIMITS,
) -> Cohort:
    """An npz file in either layout, with what it says about itself and no more.

    split: of MedMNIST's layout; ``None`` for the flat one. axes: 3 for volumes. Units follow from
    the type: "0 to 255" (uint8), "0 to 65535" (uint16), "[0, 1]" (floats within), else "unknown".
    Labels: whole numbers (n,) or (n, 1), or (n, K) columns of 0 and 1.
    """
    path = Path(path)
    there = npz.headers(path, limits)
    prefix = "" if split is None else f"{split}_"
    if f"{prefix}images" not in there or f"{prefix}labels" not in there:
        found = [s for s in catalogue.SPLITS if f"{s}_images" in there]
        raise refusal(
            path,
            f"holds {', '.join(sorted(there)) or 'nothing'}",
            f"'{prefix}images' and '{prefix}labels'",
            f"name the split: {', '.join(found)}" if found else "rename the arrays",
        )
    images, labels = _arrays(path, f"{prefix}images", f"{prefix}labels", limits, None, 0)
    texts = {key: _texts(path, key, there, limits) for key in ("classes", "names")}
    if texts["names"] and len(texts["names"]) != len(images):
        raise refusal(path, f"has {len(texts['names'])} names for {len(images)} images")
    patients = _patients(path, there, len(images), limits)
    return Cohort(
        images=_channels_first(_checked_shape(path, images, axes), axes),
        labels=_labels(path, labels, None, len(texts["classes"]) or None),
        patient_ids=patients,
        units=_units(path, images),
        source=path.name if split is None else f"{path.name} ({split})",
        classes=texts["classes"],
        names=texts["names"],
        notes=() if patients is not None else (_NO_PATIENTS,),
    )


def duplicates_across_splits(
    name: str, size: int = 28, folder: str | os.PathLike | None = None
) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Images that occur, to the pixel, in two splits: (split, split) -> [(place, place), ...]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotPublished)
        parts = {split: load(name, split, size, folder) for split in catalogue.SPLITS}
    pairs = (("train", "val"), ("train", "test"), ("val", "test"))
    return {(a, b): duplicates(parts[a], parts[b]) for a, b in pairs}


def _published_note(path: Path, entry: catalogue.Entry, size: int) -> tuple[str, ...]:
    if path.stat().st_size <= entry.most_bytes(size) and catalogue.is_published(path, entry, size):
        return ()
    note = (
        f"{path.name} is not the file that MedMNIST publishes (its MD5 differs): figures from it "
        "are not comparable with published ones, and its splits may share images "
        "(duplicates_across_splits tells)."
    )
    warnings.warn(note, NotPublished, stacklevel=3)
    return (note,)


def _arrays(
    path: Path, images: str, labels: str, limits: Limits, most: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that agree in number; of more than ``most`` a random choice, in order."""
    there = npz.headers(path, limits)
    for name in (images, labels):
        if name not in there:
            raise refusal(path, f"holds no array {name!r}", f"one of {', '.join(sorted(there))}")
    counts = [_rows_of(path, there[name]) for name in (images, labels)]
    if counts[0] != counts[1]:
        raise refusal(path, f"has {counts[0]} images and {counts[1]} labels", "as many of both")
    if there[images].dtype.kind not in "uif":
        raise refusal(path, f"{images} are {there[images].dtype}", "numbers")
    if max(there[images].shape[1:], default=0) > limits.edge:
        raise refusal(path, f"{images} have shape {there[images].shape}", f"sides to {limits.edge}")
    rows = None
    if most is not None and most < counts[0]:
        if most < 1:
            raise ValueError(f"most is {most}; ask for at least one image")
        rows = np.sort(np.random.default_rng(seed).permutation(counts[0])[:most])
    values = npz.read(path, labels, limits=limits)
    return npz.read(path, images, rows, limits), values if rows is None else values[rows]


def _rows_of(path: Path, header: npz.Header) -> int:
    """Number of rows of an array, at least one."""
    if not header.shape or 0 in header.shape:
        raise refusal(path, f"{header.name} has shape {header.shape}", "at least one image")
    return header.shape[0]


def _checked_shape(path: Path, images: np.ndarray, axes: int) -> np.ndarray:
    expected = (1 + axes, 2 + axes)
    if images.ndim not in expected or (images.ndim == 2 + axes and images.shape[-1] not in (1, 3)):
        raise refusal(
            path,
            f"images have shape {images.shape}",
            f"(n, {'D, ' if axes == 3 else ''}H, W), with 1 or 3 channels behind if coloured",
            "pass axes=3 for volumes" if axes == 2 else "",
        )
    return images


def _channels_first(images: np.ndarray, axes: int) -> Tensor:
    """(n, ..., H, W[, C]) -> (n, C, ..., H, W) float32."""
    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    return x.movedim(-1, 1).contiguous() if images.ndim == 2 + axes else x[:, None]


def _units(path: Path, images: np.ndarray) -> str:
    if images.dtype.name in _UNITS:
        return _UNITS[images.dtype.name][1]
    if images.dtype.kind == "f":
        low, high = float(images.min()), float(images.max())
        if not max(abs(low), abs(high)) <= float(np.finfo(np.float32).max):  # so is NaN refused
            raise refusal(path, "images hold NaN, infinity or numbers beyond float32")
        if 0 <= low and high <= 1:
            return "[0, 1]"
    return "unknown"


def _labels(path: Path, raw: np.ndarray, task: str | None, classes: int | None) -> Tensor:
    """Binary (n,) float32, several classes (n,) int64, several findings (n, K) float32."""
    if raw.dtype.kind not in "bui" or raw.ndim not in (1, 2):
        raise refusal(path, f"labels are {raw.dtype} of shape {raw.shape}", "whole numbers")
    columns = 1 if raw.ndim == 1 else raw.shape[1]
    several = task.startswith("multi-label") if task else columns > 1
    expected = (classes or columns) if several else 1
    if columns != expected:
        raise refusal(path, f"labels have {columns} columns", f"{expected}")
    top = 1 if several else (classes - 1 if classes else int(raw.max()))
    if raw.min() < 0 or raw.max() > top:
        raise refusal(path, f"labels go from {raw.min()} to {raw.max()}", f"0 to {top}")
    if several:
        return torch.from_numpy(raw.astype(np.float32))
    flat = raw.reshape(-1)
    binary = (classes or int(flat.max()) + 1) <= 2
    return torch.from_numpy(flat.astype(np.float32 if binary else np.int64))


def _texts(path: Path, key: str, there: dict, limits: Limits) -> tuple[str, ...]:
    if key not in there:
        return ()
    if there[key].dtype.kind != "U" or len(there[key].shape) != 1:
        raise refusal(path, f"{key} are {there[key].dtype} of shape {there[key].shape}", "a list")
    return tuple(map(str, npz.read(path, key, limits=limits)))


def _patients(path: Path, there: dict, n: int, limits: Limits) -> Tensor | None:
    key = next((k for k in ("patients", "patient_ids") if k in there), None)
    if key is None:
        return None
    if there[key].shape != (n,) or there[key].dtype.kind not in "uiU":
        raise refusal(
            path, f"{key} have shape {there[key].shape}", f"one id for each of {n} images"
        )
    ids = npz.read(path, key, limits=limits)
    return torch.from_numpy(np.unique(ids, return_inverse=True)[1].astype(np.int64))
