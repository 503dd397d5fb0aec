"""Individual patients: the template's head, posed, warped and, in some, diseased.

A patient is a handful of numbers, not a picture. :func:`medxfer_lab.imaging.rendering.tissue` turns
patients into tissue fractions, and a scanner (:mod:`medxfer_lab.imaging.scanners`) turns those into
pixels; the same patients can therefore be imaged twice. Patient ``i`` of seed ``s`` is the same
person whatever the size of the cohort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging import geometry
from medxfer_lab.imaging.anatomy import template
from medxfer_lab.imaging.lesions import (
    GLIOMAS,
    KINDS,
    Burden,
    Lesion,
    draw_disease,
    draw_vessels,
    draw_waves,
    radius_mm,
)


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
_SLOTS = 5  # one glioma and up to four look-alikes
_VESSELS = 6
_LARGEST_VENTRICLES = 0.5


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


def draw_patients(
    n: int,
    seed: int,
    population: Population = Population(),
    burden: Burden = GLIOMAS,
    first: int = 0,
) -> Patients:
    """n patients, numbered from ``first``; each with its own random streams."""
    if n < 1:
        raise ValueError(f"n is {n}; a cohort needs at least one patient")
    people = [
        _one_patient((seed, number), population, burden) for number in range(first, first + n)
    ]
    stacked = {
        key: torch.from_numpy(np.stack([person[key] for person in people])).float()
        for key in people[0]
    }
    stacked["kind"] = stacked["kind"].long()
    offset = stacked.pop("offset")
    patients = Patients(ids=torch.arange(first, first + n), seed=seed, **stacked)
    return _put_on_slice(patients, offset)


def _one_patient(who: tuple[int, int], population: Population, burden: Burden) -> dict:
    """Pose first, lesions after: changing the burden leaves the anatomy as it was."""
    seed, number = who
    rng = np.random.default_rng((seed, 1, number))
    pose = _pose(rng, population)
    groups = [_glioma_and_lookalikes(rng, burden, pose)]
    depth = _depth(np.random.default_rng((seed, 5, number)), population)
    if population.vessels > 0:
        drawn = draw_vessels(np.random.default_rng((seed, 6, number)), population.vessels, _VESSELS)
        groups.append(_place(drawn, pose))
    for disease in burden.others:
        stream = np.random.default_rng((seed, 7, number, KINDS.index(disease.kind)))
        groups.append(_place(draw_disease(stream, disease), pose))
    if len(groups) == 1:
        return pose | depth | groups[0]
    return pose | depth | {key: np.concatenate([g[key] for g in groups]) for key in groups[0]}


def _pose(rng: np.random.Generator, population: Population) -> dict:
    angle = math.radians(population.rotation_deg) * rng.standard_normal()
    size = np.exp(population.scale * rng.standard_normal(2))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    skew = np.array([[1.0, population.shear * rng.standard_normal()], [0.0, 1.0]])
    return {
        "slice_mm": np.asarray(rng.uniform(*population.slice_mm)),
        "affine": turn @ skew @ np.diag(size),
        "shift_mm": population.shift_mm * rng.standard_normal(2),
        "tilt": np.tan(math.radians(population.tilt_deg) * rng.standard_normal(2)),
        "warp_mm": population.warp_mm * rng.standard_normal((2, 5, 5)),
    }


def _depth(rng: np.random.Generator, population: Population) -> dict:
    """What a slice alone would not need: the third dimension, ventricles, skull and scalp."""
    widening = population.ventricles * rng.standard_normal()
    return {
        "depth_scale": np.exp(population.depth_scale * np.asarray(rng.standard_normal())),
        "ventricles": np.clip(widening, -_LARGEST_VENTRICLES, _LARGEST_VENTRICLES),
        "skull_mm": np.asarray(rng.uniform(*population.skull_mm)),
        "scalp_mm": np.asarray(rng.uniform(*population.scalp_mm)),
        "depth_warp_mm": population.depth_warp_mm * rng.standard_normal((3, 5, 5, 5)),
    }


def _glioma_and_lookalikes(rng: np.random.Generator, burden: Burden, pose: dict) -> dict:
    """Fill the slots. All random numbers are drawn whether used or not, so streams stay aligned."""
    affected = rng.random() < burden.affected
    log_volume = rng.uniform(*np.log(burden.volume_ml))
    spots = min(rng.poisson(burden.lookalikes), _SLOTS - 1)
    spot_volume = np.exp(rng.uniform(*np.log(burden.lookalike_ml), size=_SLOTS - 1))
    kind = np.zeros(_SLOTS)
    kind[0] = affected * KINDS.index("glioma")
    kind[1 : 1 + spots] = KINDS.index("lookalike")
    volume = np.concatenate([[np.exp(log_volume)], spot_volume])
    infiltration = np.concatenate(
        [[rng.uniform(*burden.infiltration)], rng.uniform(0.3, 0.6, _SLOTS - 1)]
    )
    white = _white_matter_near(float(pose["slice_mm"]))
    centre = white[rng.integers(len(white), size=_SLOTS)]
    waves = draw_waves(rng, _SLOTS)
    halo = np.ones(_SLOTS)
    halo[0] = rng.uniform(*burden.halo)
    return {
        "kind": kind,
        "centre_mm": _on_plane(centre, pose),
        "radius_mm": radius_mm(volume) * (kind > 0),
        "infiltration": infiltration,
        "irregularity": np.where(kind == KINDS.index("glioma"), burden.irregularity, 0.0),
        "halo": halo,
        "offset": np.zeros(_SLOTS),
        "direction": np.tile([0.0, 0.0, 1.0], (_SLOTS, 1)),
        "waves": waves,
    }


def _place(slots: dict, pose: dict) -> dict:
    """Give each slot the centre that its ``place`` in [0, 1) picks."""
    place = slots.pop("place")
    white = _white_matter_near(float(pose["slice_mm"]))
    centre = white[(place * len(white)).astype(int)]
    return slots | {"centre_mm": _on_plane(centre, pose)}


def _on_plane(centre: np.ndarray, pose: dict) -> np.ndarray:
    """(k, 2) -> (k, 3): on the tilted plane, so that the slice meets the lesion at full size."""
    return np.column_stack([centre, pose["slice_mm"] + centre @ pose["tilt"]])


def _put_on_slice(patients: Patients, offset: Tensor) -> Patients:
    """Lift centres onto the slice as the patient's own depth bends it, plus ``offset`` mm.

    The slice's height in the template at a centre (x, y) is found by fixed-point iteration: take
    the centre to image space, put it on the slice there, and come back.
    """
    centre = patients.centre_mm
    if patients.has_depth or (patients.ventricles != 0).any():
        for _ in range(4):
            image = geometry.to_image(patients, centre, steps=8)
            image[..., 2] = patients.slice_mm[:, None]
            height = geometry.to_template(patients, image)[..., 2]
            centre = torch.cat([centre[..., :2], height[..., None]], dim=-1)
    elif not (offset != 0).any():
        return patients
    lift = torch.stack([torch.zeros_like(offset), torch.zeros_like(offset), offset], dim=-1)
    return replace(patients, centre_mm=centre + lift)


_white_cache: dict[int, np.ndarray] = {}


def _white_matter_near(slice_mm: float) -> np.ndarray:
    """(x, y) mm of the template's clearly white voxels in the axial plane nearest to slice_mm."""
    brain = template()
    level = round((slice_mm - brain.origin_mm[2]) / brain.spacing_mm)
    if level not in _white_cache:
        voxels = np.argwhere(brain.fractions[2, :, :, level].numpy() > 0.8)
        _white_cache[level] = voxels * brain.spacing_mm + np.array(brain.origin_mm[:2])
    return _white_cache[level]
