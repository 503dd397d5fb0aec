"""Individual patients: the template's brain, posed, warped and, in some, diseased.

A patient is a handful of numbers, not a picture. :func:`tissue` turns patients into tissue
fractions, and a scanner (:mod:`medxfer_lab.imaging.scanners`) turns those into pixels; the same
patients can therefore be imaged twice. Patient ``i`` of seed ``s`` is the same person whatever the
size of the cohort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS, TISSUES, Template, template

#: what a lesion slot can hold; 0 is an empty slot
KINDS = ("none", "glioma", "lookalike")
FIELD_OF_VIEW_MM = 192.0
_EDGE_MM = 1.5  # lesions fade over this distance: partial volume at the rim
_WAVES = 5  # plane waves that make an outline irregular


@dataclass(frozen=True)
class Population:
    """How people differ. Standard deviations of normal draws, or (low, high) of uniform ones.

    slice_mm: height of the axial slice, MNI z in mm (uniform).
    rotation_deg, tilt_deg: pose in the scanner. scale, shear: relative head size and skew.
    warp_mm: displacement at the knots of a 5 x 5 grid over the field of view, interpolated
        bicubically. 4 mm over knots 48 mm apart keeps the warp invertible (slopes far below 1).
    """

    slice_mm: tuple[float, float] = (8.0, 42.0)
    rotation_deg: float = 5.0
    tilt_deg: float = 3.0
    scale: float = 0.06
    shear: float = 0.03
    shift_mm: float = 4.0
    warp_mm: float = 4.0


@dataclass(frozen=True)
class Burden:
    """How much disease there is, before anybody calls it one.

    affected: probability that a patient has a glioma-like lesion.
    volume_ml: (low, high) of its nominal volume 4/3 pi r^3, log-uniform, in ml.
    infiltration: (low, high) of the fraction of tissue replaced inside the lesion, uniform; this
        is the contrast dial.
    lookalikes: mean number of small round bright spots that are no disease (Poisson, at most 4),
        in every patient alike. lookalike_ml: (low, high) of their volume.
    """

    affected: float = 0.5
    volume_ml: tuple[float, float] = (6.0, 50.0)
    infiltration: tuple[float, float] = (0.12, 0.3)
    irregularity: float = 0.16
    lookalikes: float = 1.5
    lookalike_ml: tuple[float, float] = (0.15, 0.9)


_SLOTS = 5  # one glioma and up to four look-alikes


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
    kind: Tensor  # (n, 5) index into KINDS
    centre_mm: Tensor  # (n, 5, 3)
    radius_mm: Tensor  # (n, 5)
    infiltration: Tensor  # (n, 5)
    irregularity: Tensor  # (n, 5)
    waves: Tensor  # (n, 5, 5, 4) wave vector in cycles per radius, and phase

    def __len__(self) -> int:
        return len(self.ids)

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
        wanted = self.kind == KINDS.index(kind)
        return (wanted * 4 / 3 * math.pi * (self.radius_mm / 10) ** 3).sum(1)


def draw_patients(
    n: int,
    seed: int,
    population: Population = Population(),
    burden: Burden = Burden(),
    first: int = 0,
) -> Patients:
    """n patients, numbered from ``first``; each has a random stream of its own: (seed, number)."""
    if n < 1:
        raise ValueError(f"n is {n}; a cohort needs at least one patient")
    people = [
        _one_patient(np.random.default_rng((seed, 1, number)), population, burden)
        for number in range(first, first + n)
    ]
    stacked = {
        key: torch.from_numpy(np.stack([person[key] for person in people])).float()
        for key in people[0]
    }
    stacked["kind"] = stacked["kind"].long()
    return Patients(ids=torch.arange(first, first + n), seed=seed, **stacked)


def _one_patient(rng: np.random.Generator, population: Population, burden: Burden) -> dict:
    """Pose first, lesions after: changing the burden leaves the anatomy as it was."""
    angle = math.radians(population.rotation_deg) * rng.standard_normal()
    size = np.exp(population.scale * rng.standard_normal(2))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    skew = np.array([[1.0, population.shear * rng.standard_normal()], [0.0, 1.0]])
    pose = {
        "slice_mm": np.asarray(rng.uniform(*population.slice_mm)),
        "affine": turn @ skew @ np.diag(size),
        "shift_mm": population.shift_mm * rng.standard_normal(2),
        "tilt": np.tan(math.radians(population.tilt_deg) * rng.standard_normal(2)),
        "warp_mm": population.warp_mm * rng.standard_normal((2, 5, 5)),
    }
    return pose | _lesions(rng, burden, pose)


def _lesions(rng: np.random.Generator, burden: Burden, pose: dict) -> dict:
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
    # put the centre on the tilted plane, so that the slice meets the lesion at full size
    centre = np.column_stack([centre, pose["slice_mm"] + centre @ pose["tilt"]])
    direction = rng.standard_normal((_SLOTS, _WAVES, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    cycles = rng.uniform(0.25, 0.8, (_SLOTS, _WAVES, 1))
    phase = rng.uniform(0, 2 * math.pi, (_SLOTS, _WAVES, 1))
    return {
        "kind": kind,
        "centre_mm": centre,
        "radius_mm": 10 * (volume * 3 / (4 * math.pi)) ** (1 / 3) * (kind > 0),
        "infiltration": infiltration,
        "irregularity": np.where(kind == KINDS.index("glioma"), burden.irregularity, 0.0),
        "waves": np.concatenate([direction * cycles, phase], axis=-1),
    }


_white_cache: dict[int, np.ndarray] = {}


def _white_matter_near(slice_mm: float) -> np.ndarray:
    """(x, y) mm of the template's clearly white voxels in the axial plane nearest to slice_mm."""
    brain = template()
    level = round((slice_mm - brain.origin_mm[2]) / brain.spacing_mm)
    if level not in _white_cache:
        voxels = np.argwhere(brain.fractions[2, :, :, level].numpy() > 0.8)
        _white_cache[level] = voxels * brain.spacing_mm + np.array(brain.origin_mm[:2])
    return _white_cache[level]


def tissue(patients: Patients, size: int = 96, brain: Template | None = None):
    """Tissue fractions and lesion masks of each patient's slice.

    Returns (fractions (n, 11, size, size) in [0, 1], channels as CHANNELS;
    masks (n, size, size) bool: glioma, where it makes up at least half of what it will at most).
    Rows run from front to back, columns from the patient's right to left as MNI x grows.
    """
    if size < 16:
        raise ValueError(f"size is {size} pixels; a brain needs at least 16")
    points = _template_points(patients, size)
    fractions = (brain or template()).sample(points)
    inside = fractions.sum(1)
    lesion = torch.zeros_like(inside)
    mask = torch.zeros_like(inside, dtype=torch.bool)
    for slot in range(patients.kind.shape[1]):
        here = (patients.kind[:, slot] > 0).nonzero().flatten()  # most slots are empty: skip them
        if len(here) == 0:
            continue
        few = patients.take(here)
        membership = _membership(few, slot, points[here])
        share = membership * few.infiltration[:, slot, None, None]
        fractions[here] *= 1 - share[:, None]
        lesion[here] = lesion[here] * (1 - share) + share * inside[here]
        is_glioma = few.kind[:, slot, None, None] == KINDS.index("glioma")
        mask[here] |= is_glioma & (membership > 0.5) & (inside[here] > 0.5)
    rest = fractions.new_zeros(len(fractions), len(CHANNELS) - len(TISSUES) - 1, size, size)
    return torch.cat([fractions, lesion[:, None], rest], dim=1), mask


def _template_points(patients: Patients, size: int) -> Tensor:
    """Where each pixel's centre lies in the template: (n, size, size, 3) mm."""
    half = FIELD_OF_VIEW_MM / 2
    axis = (torch.arange(size) + 0.5) / size * FIELD_OF_VIEW_MM - half
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    plane = torch.stack([columns, -rows], dim=-1)  # x grows along columns, y against rows
    warp = torch.nn.functional.interpolate(
        patients.warp_mm, size=(size, size), mode="bicubic", align_corners=True
    ).movedim(1, -1)
    flat = torch.einsum("nij,hwj->nhwi", patients.affine, plane)
    flat = flat + patients.shift_mm[:, None, None] + warp
    flat = flat + torch.tensor([0.0, -18.0])  # the brain's middle lies behind the MNI origin
    height = patients.slice_mm[:, None, None] + (flat * patients.tilt[:, None, None]).sum(-1)
    return torch.cat([flat, height[..., None]], dim=-1)


def _membership(patients: Patients, slot: int, points: Tensor) -> Tensor:
    """Soft indicator of one lesion slot in [0, 1]: an irregular ball with a blurred rim."""
    radius = patients.radius_mm[:, slot].clamp(min=1e-3)[:, None, None]
    offset = (points - patients.centre_mm[:, slot, None, None]) / radius[..., None]
    outline = offset.norm(dim=-1)
    if (patients.irregularity[:, slot] > 0).any():
        outline = outline + patients.irregularity[:, slot, None, None] * _ripple(
            offset, patients.waves[:, slot]
        )
    return torch.sigmoid((1 - outline) * radius / _EDGE_MM * 2)


def _ripple(offset: Tensor, waves: Tensor) -> Tensor:
    """Sum of plane waves over (n, H, W, 3) offsets in radii; waves (n, w, 4)."""
    turns = 2 * math.pi * torch.einsum("nhwd,nkd->nkhw", offset, waves[..., :3])
    return torch.sin(turns + waves[..., 3, None, None]).sum(1)
