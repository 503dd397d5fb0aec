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
    Lesion,
)
from medxfer_lab.imaging.patients import Patients

_DURA_MM = 2.0  # fluid between brain and bone
_DIPLOE = 0.4  # share of marrow in the middle third of the skull
_SOFT_MM = 0.8  # how far the layers of the head blur into each other


def tissue(
    patients: Patients, size: int = 96, brain: Template | None = None, view: View = BRAIN
) -> tuple[Tensor, Tensor]:
    """Tissue fractions and lesion masks of each patient as a scanner's view sees them.

    Returns (fractions (n, 11, size, size) in [0, 1], channels as anatomy.CHANNELS;
    masks (n, size, size) bool: disease, where it makes up at least half of what it will at most).
    A volume has one more axis, slices from foot to head, after the channels.
    Axial rows run from front to back, columns from the patient's left to right as MNI x grows.
    """
    if size < 16:
        raise ValueError(f"size is {size} pixels; a brain needs at least 16")
    brain = brain or template()
    points = template_points(patients, view, size)
    flat = points if view.plane != "volume" else points.flatten(1, 2)
    whole = points.new_zeros(len(points), len(CHANNELS), *points.shape[1:-1])
    whole[:, : len(TISSUES)] = brain.sample(flat).reshape(len(points), -1, *points.shape[1:-1])
    inside = whole[:, : len(TISSUES)].sum(1)
    mask = torch.zeros_like(inside, dtype=torch.bool)
    slices = None
    if view.plane == "volume" and (patients.kind == KINDS.index("tube")).any():
        slices = slice_points(patients, view, size)
    for i, lesion in patients.lesions():
        cut = None if slices is None else slices[i]
        _add_lesion(whole[i], mask[i], inside[i], lesion, points[i], cut)
    _add_head(whole, 1 - inside, patients, brain, flat, view)
    return whole, mask


def _add_lesion(
    whole: Tensor, mask: Tensor, inside: Tensor, lesion: Lesion, points: Tensor, cut: Tensor | None
) -> None:
    """Replace one patient's tissue by one lesion, in place, where it reaches.

    whole: (11, ...), mask, inside: (...), points: (..., 3); cut: (H, W, 3) points of the slice that
    a volume's tubes are made of.
    """
    box = _box(points, lesion, TUBE_HALF_LENGTH_MM if cut is not None else 0.0)
    if box is None:
        return
    # views: what is written into them is written into the patient
    whole, mask, inside = whole[(slice(None), *box)], mask[box], inside[box]
    near = points[box]
    if lesion.name == "tube" and cut is not None:
        share = _extruded(lesion, near, cut[box[1:]])
    else:
        share = lesion.membership(near - lesion.centre_mm)
    if lesion.halo > 1:
        swollen = lesion.membership(near - lesion.centre_mm, grow=lesion.halo)
        _replace(whole, swollen * (1 - share) * lesion.filling, inside, "oedema")
    _replace(whole, share * lesion.filling, inside, COMPARTMENT[lesion.name])
    if lesion.name in DISEASES:
        mask |= (share > 0.5) & (inside > 0.5)


def _replace(whole: Tensor, share: Tensor, inside: Tensor, channel: str) -> None:
    """Let ``share`` of the brain become ``channel``, in place; bone and scalp stay.

    The share is one of the brain, so that fractions keep their sum.
    """
    whole[: CHANNELS.index("skull")] *= 1 - share
    whole[CHANNELS.index(channel)] += share * inside


def _box(points: Tensor, lesion: Lesion, further_mm: float) -> tuple[slice, ...] | None:
    """The part of a grid of points that a lesion reaches, found on every fourth point."""
    step = 4
    axes = points.ndim - 1
    coarse = points[(slice(None, None, step),) * axes]
    along = (points[(1,) + (0,) * (axes - 1)] - points[(0,) * axes]).norm()
    far = float(step * along * 1.5 * axes**0.5)  # warps stretch a cell by less than half
    near = (coarse - lesion.centre_mm).norm(dim=-1) < lesion.reach_mm + further_mm + far
    if not near.any():
        return None
    box = []
    for axis in range(axes):
        others = tuple(a for a in range(axes) if a != axis)
        hit = near.any(dim=others).nonzero() if others else near.nonzero()
        box.append(slice(int(hit[0]) * step, int(hit[-1]) * step + step))
    return tuple(box)


def _extruded(lesion: Lesion, points: Tensor, cut: Tensor) -> Tensor:
    """A tube in a volume: the ball's cut with the slice, carried up and down, faded at the ends.

    In the slice itself it *is* the ball's cut; that is why no slice tells tube from ball.
    """
    share = lesion.membership(cut - lesion.centre_mm)
    height = points[..., 2] - cut[..., 2]
    return share * torch.sigmoid((TUBE_HALF_LENGTH_MM - height.abs()) / EDGE_MM * 2)


def _add_head(
    whole: Tensor, room: Tensor, patients: Patients, brain: Template, flat: Tensor, view: View
) -> None:
    """Lay fluid, skull and scalp around the brain, in place; under a probe, saline.

    room: what the brain leaves of each pixel. flat: (n, H, W, 3) points, a volume's slices stacked
    along H.
    """
    if view.plane != "probe" and not (patients.skull_mm > 0).any():
        return
    shape = whole[:, 0].shape
    distance = brain.distance(flat).reshape(shape)
    wide = (slice(None),) + (None,) * (len(shape) - 1)

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
