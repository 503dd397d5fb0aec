"""Drawing patients: every number of a person, each from a random stream of the person's own.

Patient ``i`` of seed ``s`` is the same person whatever the size of the cohort. Pose, depth, vessels
and each disease have streams apart, so that changing one leaves the others as they were.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging import geometry
from medxfer_lab.imaging.anatomy import template
from medxfer_lab.imaging.lesions import (
    GLIOMAS,
    KINDS,
    Burden,
    draw_disease,
    draw_vessels,
    draw_waves,
    radius_mm,
)
from medxfer_lab.imaging.patients import BRAINS, Patients, Population

_SLOTS = 5  # one glioma and up to four look-alikes
_VESSELS = 6
_LARGEST_VENTRICLES = 0.5


def draw_patients(
    n: int,
    seed: int,
    population: Population = BRAINS,
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
