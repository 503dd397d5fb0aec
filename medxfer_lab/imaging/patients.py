"""Individual patients: the template's head, posed, warped and, in some, diseased.

A patient is a handful of numbers, not a picture: :mod:`medxfer_lab.imaging.draw` draws them,
:mod:`medxfer_lab.imaging.rendering` turns them into tissue fractions, and a scanner
(:mod:`medxfer_lab.imaging.scanners`) turns those into pixels; the same patients can therefore be
imaged twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from medxfer_lab.imaging.lesions import KINDS, Lesion


@dataclass(frozen=True)
class Population:
    """How people differ. Standard deviations of normal draws, or (low, high) of uniform ones.

    slice_mm: height of the axial slice, MNI z in mm (uniform).
    rotation_deg, tilt_deg: pose in the scanner. scale, shear: relative head size and skew.
    warp_mm: displacement at the knots of a 5 x 5 grid over 192 mm, the same at every height,
        interpolated by cubic convolution. 4 mm over knots 48 mm apart keeps the warp invertible.
    depth_scale: relative head height. depth_warp_mm: displacement, in all three directions, at the
        knots of a 5 x 5 x 5 grid: the part of the warp that changes with height.
    ventricles: strength of their widening (normal, cut at +-0.5; see geometry).
    skull_mm, scalp_mm: thickness (uniform); (0, 0) leaves both away: a brain, skull-stripped.
    vessels: mean number of vessels near the slice (Poisson, at most 6).

    The default is chapter 1's: a brain without a skull that is warped alike at every height.
    """

    slice_mm: tuple[float, float] = (8.0, 42.0)
    rotation_deg: float = 5.0
    tilt_deg: float = 3.0
    scale: float = 0.06
    shear: float = 0.03
    shift_mm: float = 4.0
    warp_mm: float = 4.0
    depth_scale: float = 0.0
    depth_warp_mm: float = 0.0
    ventricles: float = 0.0
    skull_mm: tuple[float, float] = (0.0, 0.0)
    scalp_mm: tuple[float, float] = (0.0, 0.0)
    vessels: float = 0.0


#: chapter 1's people: brains without a skull, warped alike at every height
BRAINS = Population()
#: whole heads in three dimensions
ADULTS = Population(
    warp_mm=3.0,
    depth_scale=0.05,
    depth_warp_mm=2.0,
    ventricles=0.25,
    skull_mm=(5.0, 8.0),
    scalp_mm=(3.0, 7.0),
    vessels=3.0,
)


@dataclass(frozen=True)
class Patients:
    """n patients; every field's first axis is the patient. Lengths in mm, template coordinates."""

    ids: Tensor  # (n,) int64: unique within a seed
    seed: int
    slice_mm: Tensor  # (n,)
    affine: Tensor  # (n, 2, 2) image plane -> template plane
    shift_mm: Tensor  # (n, 2)
    tilt: Tensor  # (n, 2) slope of the slice plane
    warp_mm: Tensor  # (n, 2, 5, 5)
    depth_scale: Tensor  # (n,) 1 is the template's height
    depth_warp_mm: Tensor  # (n, 3, 5, 5, 5) displacement x, y, z at knots z, y, x
    ventricles: Tensor  # (n,)
    skull_mm: Tensor  # (n,)
    scalp_mm: Tensor  # (n,)
    kind: Tensor  # (n, s) index into KINDS
    centre_mm: Tensor  # (n, s, 3)
    radius_mm: Tensor  # (n, s)
    infiltration: Tensor  # (n, s) fraction of tissue replaced
    irregularity: Tensor  # (n, s)
    halo: Tensor  # (n, s) outer radius of the oedema over the radius
    direction: Tensor  # (n, s, 3) of vessels
    waves: Tensor  # (n, s, 5, 4) wave vector in cycles per radius, and phase

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_depth(self) -> bool:
        """Whether these people differ along z as well."""
        return bool((self.depth_scale != 1).any() or (self.depth_warp_mm != 0).any())

    def warp_knots_mm(self) -> Tensor:
        """All of the warp: (n, 3, 5, 5, 5) displacement x, y, z at knots z, y, x."""
        flat = torch.nn.functional.pad(self.warp_mm, (0, 0, 0, 0, 0, 1))
        return self.depth_warp_mm + flat[:, :, None]

    def take(self, index: Tensor | slice) -> Patients:
        """The patients at ``index``, in that order."""
        tensors = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **tensors)

    def volume_ml(self, kind: str = "glioma") -> Tensor:
        """Nominal volume 4/3 pi r^3 of all lesions of a kind, summed: (n,) ml."""
        if kind not in KINDS[1:]:
            raise ValueError(f"kind is {kind!r}; the kinds are {', '.join(KINDS[1:])}")
        wanted = self.kind == KINDS.index(kind)
        return (wanted * 4 / 3 * math.pi * (self.radius_mm / 10) ** 3).sum(1)

    def lesions(self) -> list[tuple[int, Lesion]]:
        """Every filled slot: (row of its patient, lesion), patient by patient."""
        numbers = (self.radius_mm, self.infiltration, self.irregularity, self.halo)
        rows = [v.tolist() for v in (self.kind, *numbers)]
        return [
            (
                i,
                Lesion(
                    KINDS[rows[0][i][slot]],
                    self.centre_mm[i, slot],
                    *(row[i][slot] for row in rows[1:]),
                    self.direction[i, slot],
                    self.waves[i, slot],
                ),
            )
            for i, slot in self.kind.nonzero().tolist()
        ]
