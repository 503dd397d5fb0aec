"""Lesions and what looks like them: kinds, how many, how large, and their shape.

Lesions live in template coordinates, so they are warped with the brain that holds them; their
``volume_ml`` is the nominal volume 4/3 pi r^3 there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: what a lesion slot can hold; 0 is an empty slot.
#: lookalike: a small round bright spot that is no disease. tube: a vessel that runs through the
#: slice and whose cut is, in law, the cut of a metastasis. vessel: an ordinary one, any direction.
KINDS = (
    "none",
    "glioma",
    "lookalike",
    "metastasis",
    "white_matter_lesion",
    "haemorrhage",
    "calcification",
    "tube",
    "vessel",
)
#: the tissue channel that fills a lesion of each kind
COMPARTMENT = {
    "glioma": "lesion",
    "lookalike": "lesion",
    "metastasis": "enhancing",
    "white_matter_lesion": "lesion",
    "haemorrhage": "haematoma",
    "calcification": "calcification",
    "tube": "enhancing",
    "vessel": "blood",
}
#: kinds that count as disease in a mask
DISEASES = ("glioma", "metastasis", "white_matter_lesion", "haemorrhage", "calcification")
EDGE_MM = 1.5  # lesions fade over this distance: partial volume at the rim
WAVES = 5  # plane waves that make an outline irregular
TUBE_HALF_LENGTH_MM = 24.0
VESSEL_HALF_LENGTH_MM = 30.0


@dataclass(frozen=True)
class Disease:
    """A kind of lesion that some patients have, on top of :class:`Burden`'s glioma.

    kind: one of KINDS. mean: of a Poisson number of lesions. at_least, most: bounds of that number.
    volume_ml: (low, high) of the nominal volume, log-uniform. filling: (low, high) of the fraction
    of tissue replaced, uniform. irregularity: of the outline, 0 is a ball.
    halo: (low, high) of the oedema's outer radius over the lesion's radius; 1 is no oedema.
    mimic: probability that *all* of a patient's lesions of this kind are tubes instead. Number,
    size, place and cut with the slice have the same law either way: no single slice tells them
    apart, the volume does.
    spread_mm: standard deviation of the lesion's height about the patient's slice, on top of a
    uniform offset of up to 0.7 radii; 0 makes every lesion meet the slice.
    """

    kind: str
    mean: float = 1.0
    at_least: int = 0
    most: int = 4
    volume_ml: tuple[float, float] = (0.5, 4.0)
    filling: tuple[float, float] = (0.8, 1.0)
    irregularity: float = 0.0
    halo: tuple[float, float] = (1.0, 1.0)
    mimic: float = 0.0
    spread_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS[1:]:
            raise ValueError(f"kind is {self.kind!r}; the kinds are {', '.join(KINDS[1:])}")
        if not 0 <= self.mimic <= 1:
            raise ValueError(f"mimic is {self.mimic}; it is a probability in [0, 1]")
        if not 0 <= self.at_least <= self.most:
            raise ValueError(f"at_least is {self.at_least} and most is {self.most}: swap them?")
        if not 0 < self.volume_ml[0] <= self.volume_ml[1]:
            raise ValueError(f"volume_ml is {self.volume_ml}; need 0 < low <= high")


@dataclass(frozen=True)
class Burden:
    """How much disease there is, before anybody calls it one.

    affected: probability that a patient has a glioma-like lesion.
    volume_ml: (low, high) of its nominal volume 4/3 pi r^3, log-uniform, in ml.
    infiltration: (low, high) of the fraction of tissue replaced inside the lesion, uniform; this
        is the contrast dial.
    lookalikes: mean number of small round bright spots that are no disease (Poisson, at most 4),
        in every patient alike. lookalike_ml: (low, high) of their volume.
    halo: (low, high) of the outer radius of the glioma's oedema over its own; 1 is none.
    others: further kinds of lesions.
    """

    affected: float = 0.5
    volume_ml: tuple[float, float] = (6.0, 50.0)
    infiltration: tuple[float, float] = (0.12, 0.3)
    irregularity: float = 0.16
    lookalikes: float = 1.5
    lookalike_ml: tuple[float, float] = (0.15, 0.9)
    halo: tuple[float, float] = (1.0, 1.0)
    others: tuple[Disease, ...] = ()


#: chapter 1's burden: gliomas and bright spots
GLIOMAS = Burden()
#: a burden without any disease
HEALTHY = Burden(affected=0.0, lookalikes=0.0)


def radius_mm(volume_ml: np.ndarray) -> np.ndarray:
    """Radius of a ball of that volume: (3 V / 4 pi)^(1/3), ml -> mm."""
    return 10 * (np.asarray(volume_ml) * 3 / (4 * math.pi)) ** (1 / 3)


def draw_waves(rng: np.random.Generator, slots: int) -> np.ndarray:
    """(slots, WAVES, 4): wave vectors in cycles per radius, any direction, and phases."""
    direction = rng.standard_normal((slots, WAVES, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    cycles = rng.uniform(0.25, 0.8, (slots, WAVES, 1))
    phase = rng.uniform(0, 2 * math.pi, (slots, WAVES, 1))
    return np.concatenate([direction * cycles, phase], axis=-1)


def draw_disease(rng: np.random.Generator, disease: Disease) -> dict[str, np.ndarray]:
    """Slots of one patient for one disease. Everything is drawn whether used or not.

    ``place`` in [0, 1) picks the white matter it lies in, ``offset`` is its height above the
    slice in mm.
    """
    most = disease.most
    count = min(max(rng.poisson(disease.mean), disease.at_least), most)
    mimic = rng.random() < disease.mimic
    volume = np.exp(rng.uniform(*np.log(disease.volume_ml), size=most))
    radius = radius_mm(volume)
    kind = KINDS.index("tube" if mimic else disease.kind)
    present = np.arange(most) < count
    return {
        "kind": np.where(present, kind, 0),
        "radius_mm": radius * present,
        "infiltration": rng.uniform(*disease.filling, size=most),
        "irregularity": np.full(most, disease.irregularity),
        "halo": rng.uniform(*disease.halo, size=most),
        "place": rng.random(most),
        "offset": 0.7 * radius * rng.uniform(-1, 1, most)
        + disease.spread_mm * rng.standard_normal(most),
        "direction": np.tile([0.0, 0.0, 1.0], (most, 1)),
        "waves": draw_waves(rng, most),
    }


def draw_vessels(rng: np.random.Generator, mean: float, most: int) -> dict[str, np.ndarray]:
    """Ordinary vessels of one patient: straight tubes, radius 0.6 to 1.4 mm, any direction."""
    present = np.arange(most) < min(rng.poisson(mean), most)
    direction = rng.standard_normal((most, 3))
    return {
        "kind": present * KINDS.index("vessel"),
        "radius_mm": rng.uniform(0.6, 1.4, most) * present,
        "infiltration": np.ones(most),
        "irregularity": np.zeros(most),
        "halo": np.ones(most),
        "place": rng.random(most),
        "offset": rng.uniform(-10, 10, most),
        "direction": direction / np.linalg.norm(direction, axis=1, keepdims=True),
        "waves": draw_waves(rng, most),
    }


@dataclass(frozen=True)
class Lesion:
    """One filled slot of one patient: name of its kind, and its numbers as in Patients."""

    name: str
    centre_mm: Tensor  # (3,)
    radius_mm: float
    filling: float
    irregularity: float
    halo: float
    direction: Tensor  # (3,)
    waves: Tensor  # (w, 4)

    @property
    def reach_mm(self) -> float:
        """Beyond this distance from the centre it is nowhere more than 2e-6 of what it fills."""
        if self.name == "vessel":
            return VESSEL_HALF_LENGTH_MM + 8
        return 1.7 * self.radius_mm * self.halo * (1 + WAVES * self.irregularity) + 8

    def membership(self, offset_mm: Tensor, grow: float = 1.0) -> Tensor:
        """Soft indicator in [0, 1] at (..., 3) mm from the centre, the radius ``grow`` times."""
        if self.name == "vessel":
            return tube(offset_mm, self.direction, self.radius_mm)
        return ball(offset_mm, self.radius_mm * grow, self.irregularity, self.waves)


def ball(offset_mm: Tensor, radius: float, irregularity: float, waves: Tensor) -> Tensor:
    """Soft indicator in [0, 1] of an irregular ball with a blurred rim.

    offset_mm: (..., 3) from the centre. waves: (w, 4).
    sigmoid(2 (1 - |offset|/r - ripple) r / EDGE_MM), the ripple a sum of plane waves.
    """
    radius = max(radius, 1e-3)
    offset = offset_mm / radius
    outline = offset.norm(dim=-1)
    if irregularity > 0:
        outline = outline + irregularity * _ripple(offset, waves)
    return torch.sigmoid((1 - outline) * radius / EDGE_MM * 2)


def tube(offset_mm: Tensor, direction: Tensor, radius: float) -> Tensor:
    """Soft indicator of a straight tube through the centre, faded at its ends.

    offset_mm: (..., 3). direction: (3,) unit vector. radius: mm.
    """
    along = offset_mm @ direction
    across = (offset_mm - along[..., None] * direction).norm(dim=-1)
    ends = torch.sigmoid((VESSEL_HALF_LENGTH_MM - along.abs()) / EDGE_MM * 2)
    return torch.sigmoid((radius - across) / EDGE_MM * 2) * ends


def _ripple(offset: Tensor, waves: Tensor) -> Tensor:
    """Sum of plane waves over (..., 3) offsets in radii; waves (w, 4)."""
    turns = 2 * math.pi * torch.einsum("...d,kd->k...", offset, waves[:, :3])
    phase = waves[:, 3].reshape(-1, *[1] * (offset.ndim - 1))
    return torch.sin(turns + phase).sum(0)
