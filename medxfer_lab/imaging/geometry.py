"""Where a scanner looks, and which points of the template its pixels show.

Image space is the patient's: x to the side, y to the front, z up, in mm, the head's middle at the
origin of x and y. Template space is MNI's. A patient is the map from one to the other:
affine, then a smooth warp, then larger or smaller ventricles; each step is invertible.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import template
from medxfer_lab.imaging.patients import Patients

PLANES = ("axial", "volume", "probe")
#: the warp's knots span this many mm, five a side; it is constant beyond
WARP_SPAN_MM = 192.0
_MIDDLE_MM = (0.0, -18.0, 5.0)  # the middle of the brain in MNI coordinates
_VENTRICLES_MM = (0.0, -15.0, 14.0)  # the middle of the lateral ventricles, and how far they reach
_VENTRICLE_REACH_MM = (20.0, 32.0, 18.0)


@dataclass(frozen=True)
class View:
    """A field of view.

    plane: "axial", one slice at the patient's own height, rows from front to back, columns along
        MNI x; "volume", the whole field of view in slices from foot to head, each as in "axial";
        "probe", the plane under an ultrasound probe held against the opened skull (dura open, no
        bone): rows are depth, pointing from the side of the head inwards, columns run from front
        to back; what lies between probe and brain is saline (the "csf" channel).
    field_of_view_mm: edge length of the square (or cube) that is seen. A slice of 192 mm holds the
        brain, 240 mm the head; a probe sees 70 mm.
    """

    plane: str = "axial"
    field_of_view_mm: float = 192.0

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise ValueError(f"plane is {self.plane!r}; the planes are {', '.join(PLANES)}")
        if not self.field_of_view_mm > 0:
            raise ValueError(f"field_of_view_mm is {self.field_of_view_mm}; it must be positive")

    def spacing_mm(self, size: int) -> float:
        """Edge length of a pixel when the field of view is ``size`` pixels wide."""
        return self.field_of_view_mm / size

    def axis_mm(self, size: int) -> Tensor:
        """Centres of the pixels along one edge, from the middle: (size,) mm."""
        return (torch.arange(size) + 0.5) / size * self.field_of_view_mm - self.field_of_view_mm / 2


#: chapter 1's view: a slice of the brain
BRAIN = View("axial", 192.0)
#: a slice of the whole head
HEAD = View("axial", 240.0)


def template_points(patients: Patients, view: View, size: int) -> Tensor:
    """Where each pixel's centre lies in the template.

    (n, size, size, 3) mm, for a volume (n, size, size, size, 3) with slices first.
    """
    axis = view.axis_mm(size)
    if view.plane == "axial":
        height = patients.slice_mm[:, None]
        return _to_template(patients, axis[None], -axis[None], height, view)[:, 0]
    if view.plane == "volume":
        return _to_template(patients, axis[None], -axis[None], axis[None] + _MIDDLE_MM[2], view)
    return _probe_points(patients, view, size)


def slice_points(patients: Patients, view: View, size: int) -> Tensor:
    """As :func:`template_points` of the axial slice that a volume's field of view contains."""
    return template_points(patients, View("axial", view.field_of_view_mm), size)


def to_template(patients: Patients, points_mm: Tensor) -> Tensor:
    """Image space to template space for scattered points: (n, k, 3) mm -> (n, k, 3) mm."""
    x, y, z = points_mm.unbind(-1)
    weights = torch.einsum(
        "nkc,nkb,nka->nkcba", _knot_weights(z - _MIDDLE_MM[2]), _knot_weights(-y), _knot_weights(x)
    )
    moved = torch.einsum("nkcba,ndcba->nkd", weights, patients.warp_knots_mm())
    return _pose(patients, points_mm, moved)


def to_image(patients: Patients, points_mm: Tensor, steps: int = 30) -> Tensor:
    """Template space to image space, the inverse of :func:`to_template`, by fixed-point iteration.

    points_mm: (n, k, 3) mm -> (n, k, 3) mm. The affine part is inverted exactly; what is left
    contracts, because warp and ventricles have slopes below 1 (a test checks the residual).
    """
    inverse = torch.linalg.inv(_affine(patients))
    guess = torch.einsum("nij,nkj->nki", inverse, points_mm - points_mm.new_tensor(_MIDDLE_MM))
    guess = guess + guess.new_tensor([0.0, 0.0, _MIDDLE_MM[2]])
    for _ in range(steps):
        error = points_mm - to_template(patients, guess)
        guess = guess + torch.einsum("nij,nkj->nki", inverse, error)
    return guess


def _to_template(patients: Patients, x: Tensor, y: Tensor, z: Tensor, view: View) -> Tensor:
    """The grid z x y x x of image coordinates, each (n or 1, length) mm, into the template."""
    n = len(patients)
    x, y, z = (v.expand(n, -1) for v in (x, y, z))
    shape = (n, z.shape[1], y.shape[1], x.shape[1])
    points = torch.stack(
        [
            x[:, None, None, :].expand(shape),
            y[:, None, :, None].expand(shape),
            z[:, :, None, None].expand(shape),
        ],
        dim=-1,
    )
    return _pose(patients, points, _grid_warp(patients, x, y, z, view))


def _pose(patients: Patients, points: Tensor, moved: Tensor) -> Tensor:
    """Affine, shift and tilt, the displacement ``moved`` added, then the ventricles."""
    wide = (slice(None),) + (None,) * (points.ndim - 2)
    flat = torch.einsum("nij,n...j->n...i", patients.affine, points[..., :2])
    flat = flat + patients.shift_mm[wide] + moved[..., :2]
    flat = flat + flat.new_tensor(_MIDDLE_MM[:2])  # the brain's middle lies behind the MNI origin
    height = points[..., 2] + (flat * patients.tilt[wide]).sum(-1)
    if patients.has_depth:
        stretch = patients.depth_scale[wide] - 1
        height = height + stretch * (points[..., 2] - _MIDDLE_MM[2]) + moved[..., 2]
    return _ventricles(patients, torch.cat([flat, height[..., None]], dim=-1))


def _affine(patients: Patients) -> Tensor:
    """(n, 3, 3) linear part of :func:`_pose`."""
    matrix = patients.affine.new_zeros(len(patients), 3, 3)
    matrix[:, :2, :2] = patients.affine
    matrix[:, 2, :2] = torch.einsum("ni,nij->nj", patients.tilt, patients.affine)
    matrix[:, 2, 2] = patients.depth_scale
    return matrix


def _grid_warp(patients: Patients, x: Tensor, y: Tensor, z: Tensor, view: View) -> Tensor:
    """Displacement on a grid, (n, D, H, W, 3) mm: cubic convolution of the knots, axis by axis."""
    if not patients.has_depth and view == BRAIN:
        # chapter 1's slices: the same cubic convolution, its knots stretched over the pixel centres
        size = x.shape[1]
        flat = torch.nn.functional.interpolate(
            patients.warp_mm, size=(size, size), mode="bicubic", align_corners=True
        )
        return torch.nn.functional.pad(flat.movedim(1, -1), (0, 1))[:, None]
    knots = patients.warp_knots_mm()
    knots = torch.einsum("nzc,ndcba->ndzba", _knot_weights(z - _MIDDLE_MM[2]), knots)
    knots = torch.einsum("nyb,ndzba->ndzya", _knot_weights(-y), knots)
    return torch.einsum("nxa,ndzya->nzyxd", _knot_weights(x), knots)


def _knot_weights(position_mm: Tensor) -> Tensor:
    """Weights of five knots over WARP_SPAN_MM at positions (...,) mm -> (..., 5).

    Cubic convolution (Keys 1981, IEEE TASSP 29:1153, eq. 15 with a = -0.75 as torch has it), the
    outermost knots repeated.
    """
    u = ((position_mm + WARP_SPAN_MM / 2) / WARP_SPAN_MM * 4).clamp(0, 4)
    base = u.floor().clamp(max=3)
    t, a = u - base, -0.75

    def near(s: Tensor) -> Tensor:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Tensor) -> Tensor:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    taps = torch.stack([far(t + 1), near(t), near(1 - t), far(2 - t)], dim=-1)
    index = base.long()[..., None] + torch.arange(-1, 3, device=u.device)
    weights = u.new_zeros(*u.shape, 5)
    return weights.scatter_add(-1, index.clamp(0, 4), taps)


def _ventricles(patients: Patients, points: Tensor) -> Tensor:
    """p -> p - v (p - c) exp(-r^2 / 2), r the distance from c in units of the ventricles' reach.

    v > 0 looks nearer to the middle, so the ventricles appear larger. Along a ray the slope is
    1 - v (1 - r^2) exp(-r^2 / 2): positive for -2.2 < v < 1.
    """
    if not (patients.ventricles != 0).any():
        return points
    wide = (slice(None),) + (None,) * (points.ndim - 1)
    offset = points - points.new_tensor(_VENTRICLES_MM)
    squared = (offset / points.new_tensor(_VENTRICLE_REACH_MM)).square().sum(-1, keepdim=True)
    return points - patients.ventricles[wide] * offset * torch.exp(-squared / 2)


def _probe_points(patients: Patients, view: View, size: int) -> Tensor:
    """Under the probe: columns from front to back, rows from the side of the head inwards.

    The probe stands on the brain's surface above the patient's target (the first lesion slot's
    place, drawn in patients without one as well), between 10 and 50 mm from it.
    """
    target = to_image(patients, patients.centre_mm[:, :1])  # (n, 1, 3)
    side = torch.where(target[:, :, 0] < 0, -1.0, 1.0)
    height = patients.slice_mm[:, None]
    out = torch.arange(0.0, 100.0, 2.0)
    ray = torch.stack(
        [
            target[:, :, 0] + side * out,
            target[:, :, 1].expand(-1, len(out)),
            height.expand(-1, len(out)),
        ],
        dim=-1,
    )
    far = template().distance(to_template(patients, ray)[:, None])[:, 0]
    beyond = torch.where(far > 0, out, torch.inf).min(1, keepdim=True).values
    start = target[:, :, 0] + side * beyond.clamp(10.0, 50.0)
    depth = view.axis_mm(size) + view.field_of_view_mm / 2
    x = start - side * depth  # (n, size)
    y = target[:, :, 1] - view.axis_mm(size)  # front first
    return _to_template(patients, x, y, height, view)[:, 0].transpose(1, 2)
