"""What every reader of files gives: a picture with all that its file says about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.archive.errors import refusal
from medxfer_lab.imaging.windows import Window


@dataclass(frozen=True)
class Picture:
    """One file's pixels, or one series', with what is known about them; None where unknown.

    pixels: (frames or slices, C, H, W) float32 in ``units``, finite; C is 1, or 3 for colour.
    units: "HU"; "stored values" where the file gives no meaning; "colour 0-255"; and so on.
    source: path of the file or folder.
    spacing_mm: (between slices, between rows, between columns); the first is None where the
        frames are no slices or their distance is unknown.
    patient_id: as in the file; None if it gives none.
    modality: DICOM's two letters, e.g. "CT". photometric: DICOM's name for what a value shows, as
        in the file. padding: the value of pixels that were never measured, in ``units``.
    windows: what the file suggests to show. orientation: where rows and columns point.
    slices: True if the frames are parallel slices through a volume, in order along their normal.
    notes: in order, what was done to the pixels and what the file leaves unsaid.
    """

    pixels: Tensor
    units: str
    source: str
    spacing_mm: tuple[float | None, float, float] | None = None
    patient_id: str | None = None
    modality: str | None = None
    photometric: str | None = None
    padding: float | None = None
    windows: tuple[Window, ...] = ()
    orientation: str = "unknown"
    slices: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != torch.float32:
            raise ValueError(
                f"pixels are {tuple(self.pixels.shape)} {self.pixels.dtype}; "
                "expected (frames, C, H, W) float32"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def window(self, which: int | str = 0) -> Window:
        """The file's own window, by place or by its name in the file."""
        names = [window.name for window in self.windows]
        if isinstance(which, str) and which in names:
            return self.windows[names.index(which)]
        if isinstance(which, int) and 0 <= which < len(self.windows):
            return self.windows[which]
        raise ValueError(
            f"'{self.source}' has no window {which!r}; its windows: {names or 'none'}. "
            "Make one with Window(center, width)"
        )

    def shown(self, window: Window | int | str = 0) -> Picture:
        """The picture as grey levels in [0, 1] seen through a window (see Window.apply)."""
        if not isinstance(window, Window):
            window = self.window(window)
        said = f"window {window.center:g} wide {window.width:g} {self.units} shown as 0 to 1"
        return replace(
            self,
            pixels=window.apply(self.pixels),
            units="grey level 0-1",
            padding=None,
            windows=(),
            notes=(*self.notes, said),
        )


def check_finite(path: str | os.PathLike, pixels: Tensor) -> Tensor:
    """The same pixels, if every one is a number."""
    for index, frame in enumerate(pixels):  # one frame at a time: the mask costs memory
        if not torch.isfinite(frame).all():
            bad = int((~torch.isfinite(frame)).sum())
            raise refusal(
                path,
                f"frame {index} holds {bad:,} values that are NaN, infinite or beyond float32",
                "finite numbers",
                "find out what they stand for; read_nifti(..., nan=0.0) replaces NaN by a value",
            )
    return pixels


# DICOM's patient axes: x to the left, y to the back, z to the head (PS3.3, C.7.6.2.1.1)
_ENDS = (("right", "left"), ("front", "back"), ("feet", "head"))


def pointing(direction: Sequence[float]) -> str:
    """Where a direction in DICOM's patient axes (left, back, head) points, e.g. "left"."""
    vector = np.asarray(direction, dtype=float)
    axis = int(np.abs(vector).argmax())
    name = _ENDS[axis][int(vector[axis] > 0)]
    oblique = abs(vector[axis]) / np.linalg.norm(vector) < 0.999
    return f"{name} (oblique)" if oblique else name
