"""From patients to tissue: what fills each pixel or voxel that a scanner looks at."""

from __future__ import annotations

import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS, TISSUES, Template, template
from medxfer_lab.imaging.geometry import BRAIN, View, slice_points, template_points
from medxfer_lab.imaging.lesions import (
    COMPARTMENT,
    DISEASES,
    EDGE_MM,
    KINDS,
    TUBE_HALF_LENGTH_MM,
    ball,
    tube,
)
from medxfer_lab.imaging.patients import Patients

_DURA_MM = 2.0  # fluid between brain and bone
_DIPLOE = 0.4  # share of marrow in the middle third of the skull
_SOFT_MM = 0.8  # how far the layers of the head blur into each other
_REACH = 1.7  # a lesion's membership is negligible beyond so many radii and 4 mm


def tissue(
    patients: Patients, size: int = 96, brain: Template | None = None, view: View = BRAIN
) -> tuple[Tensor, Tensor]:
    """Tissue fractions and lesion masks of each patient as a scanner's view sees them.

    Returns (fractions (n, 11, size, size) in [0, 1], channels as anatomy.CHANNELS;
    masks (n, size, size) bool: disease, where it makes up at least half of what it will at most).
    A volume has one more axis, slices from foot to head, after the channels.
    Axial rows run from front to back, columns from the patient's right to left as MNI x grows.
    """
    if size < 16:
        raise ValueError(f"size is {size} pixels; a brain needs at least 16")
    brain = brain or template()
    points = template_points(patients, view, size)
    flat = points if view.plane != "volume" else points.flatten(1, 2)
    fractions = brain.sample(flat).reshape(len(points), len(TISSUES), *points.shape[1:-1])
    rest = fractions.new_zeros(len(points), len(CHANNELS) - len(TISSUES), *points.shape[1:-1])
    whole = torch.cat([fractions, rest], dim=1)
    inside = fractions.sum(1)
    _add_head(whole, patients, brain, flat, view)
    mask = torch.zeros_like(inside, dtype=torch.bool)
    slice_of = None
    if (patients.kind == KINDS.index("tube")).any() and view.plane == "volume":
        slice_of = slice_points(patients, view, size)
    for slot in range(patients.kind.shape[1]):
        _add_lesion(whole, mask, inside, patients, slot, points, slice_of)
    return whole, mask


def _add_lesion(
    fractions: Tensor,
    mask: Tensor,
    inside: Tensor,
    patients: Patients,
    slot: int,
    points: Tensor,
    slice_of: Tensor | None,
) -> None:
    """Replace tissue by one slot's lesion, in place, in the patients where it is in view."""
    here = _in_view(patients, slot, points)
    for name in {KINDS[k] for k in patients.kind[here, slot].tolist()}:
        index = here[patients.kind[here, slot] == KINDS.index(name)]
        few, near = patients.take(index), points[index]
        share = _membership(few, name, slot, near, None if slice_of is None else slice_of[index])
        wide = (slice(None),) + (None,) * (near.ndim - 2)
        filling = few.infiltration[:, slot][wide]
        if (few.halo[:, slot] > 1).any():
            swollen = _membership(few, name, slot, near, None, grow=few.halo[:, slot])
            swollen = swollen * (few.halo[:, slot] > 1).float()[wide] * (1 - share) * filling
            _replace(fractions, index, swollen, inside, "oedema")
        _replace(fractions, index, share * filling, inside, COMPARTMENT[name])
        if name in DISEASES:
            mask[index] |= (share > 0.5) & (inside[index] > 0.5)


def _replace(fractions: Tensor, index: Tensor, share: Tensor, inside: Tensor, channel: str) -> None:
    """Let ``share`` of the brain at these patients' pixels become ``channel``, in place.

    Bone and scalp stay. The share is one of the brain, so that fractions keep their sum.
    """
    kept = fractions[index]
    body = slice(0, CHANNELS.index("skull"))
    kept[:, body] *= 1 - share[:, None]
    kept[:, CHANNELS.index(channel)] += share * inside[index]
    fractions[index] = kept


def _in_view(patients: Patients, slot: int, points: Tensor) -> Tensor:
    """Indices of patients whose slot is filled and reaches the points shown."""
    filled = patients.kind[:, slot] > 0  # most slots are empty: skip them
    here = filled.nonzero().flatten()
    if len(here) == 0 or points.ndim == 5:
        return here
    names = patients.kind[here, slot]
    long = (names == KINDS.index("tube")) | (names == KINDS.index("vessel"))
    wave = 1 + 3 * patients.irregularity[here, slot]
    reach = patients.radius_mm[here, slot] * patients.halo[here, slot] * wave * _REACH + 4
    centre = patients.centre_mm[here, slot]
    distance = (points[here, ::4, ::4] - centre[:, None, None]).norm(dim=-1).flatten(1).amin(1)
    spacing = (points[here, 0, 1] - points[here, 0, 0]).norm(dim=-1)
    return here[long | (distance < reach + 4 * spacing)]


def _membership(
    few: Patients,
    name: str,
    slot: int,
    points: Tensor,
    slice_of: Tensor | None,
    grow: Tensor | None = None,
) -> Tensor:
    """Soft indicator of one slot in [0, 1] at (n, ..., 3) points."""
    wide = (slice(None),) + (None,) * (points.ndim - 2)
    centre = few.centre_mm[:, slot]
    if name == "vessel":
        return tube(points - centre[wide], few.direction[:, slot], few.radius_mm[:, slot])
    radius = few.radius_mm[:, slot] * (1.0 if grow is None else grow)
    shape = (radius, few.irregularity[:, slot], few.waves[:, slot])
    if name == "tube" and slice_of is not None:
        return _extruded(few, slot, points, slice_of, shape)
    return ball(points - centre[wide], *shape)


def _extruded(few: Patients, slot: int, points: Tensor, slice_of: Tensor, shape: tuple) -> Tensor:
    """A tube in a volume: the ball's cut with the slice, carried up and down, faded at the ends.

    In the slice itself it *is* the ball's cut; that is why no slice tells tube from ball.
    """
    cut = ball(slice_of - few.centre_mm[:, slot, None, None], *shape)
    height = points[..., 2] - slice_of[:, None, ..., 2]
    ends = torch.sigmoid((TUBE_HALF_LENGTH_MM - height.abs()) / EDGE_MM * 2)
    return cut[:, None] * ends


def _add_head(whole: Tensor, patients: Patients, brain: Template, flat: Tensor, view: View) -> None:
    """Lay fluid, skull and scalp around the brain, in place; under a probe, saline.

    flat: (n, H, W, 3) points, a volume's slices stacked along H.
    """
    if view.plane != "probe" and not (patients.skull_mm > 0).any():
        return
    shape = whole[:, 0].shape
    distance = brain.distance(flat).reshape(shape)
    wide = (slice(None),) + (None,) * (len(shape) - 1)
    room = 1 - whole[:, : len(TISSUES)].sum(1)  # what the brain leaves

    def beyond(edge: Tensor | float) -> Tensor:
        return torch.sigmoid((distance - edge) / _SOFT_MM)

    fluid = CHANNELS.index("csf")
    if view.plane == "probe":
        whole[:, fluid] += room
        return
    skull = patients.skull_mm[wide]
    table, scalp, air = (
        beyond(_DURA_MM),
        beyond(_DURA_MM + skull),
        beyond(_DURA_MM + skull + patients.scalp_mm[wide]),
    )
    marrow = _DIPLOE * beyond(_DURA_MM + skull / 3) * (1 - beyond(_DURA_MM + skull * 2 / 3))
    bone = (table - scalp) * (1 - marrow)
    has_head = (patients.skull_mm > 0).float()[wide] * room
    whole[:, fluid] += has_head * (1 - table)
    whole[:, CHANNELS.index("skull")] += has_head * bone
    whole[:, CHANNELS.index("scalp")] += has_head * (scalp - air + (table - scalp) * marrow)
