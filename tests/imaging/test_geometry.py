"""Image space and template space: one map for every view, smooth and invertible."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from medxfer_lab.imaging import ADULTS, HEALTHY, draw_patients
from medxfer_lab.imaging.anatomy import template
from medxfer_lab.imaging.geometry import (
    BRAIN,
    HEAD,
    View,
    slice_points,
    template_points,
    to_image,
    to_template,
)
from medxfer_lab.imaging.patients import Patients

VOLUME = View("volume", 240.0)
PROBE = View("probe", 70.0)


def in_float64(patients: Patients) -> Patients:
    return replace(
        patients,
        **{
            f.name: getattr(patients, f.name).double()
            for f in fields(patients)
            if isinstance(getattr(patients, f.name), Tensor)
            and getattr(patients, f.name).is_floating_point()
        },
    )


@pytest.fixture(scope="module")
def adults() -> Patients:
    return draw_patients(60, seed=17, population=ADULTS)


def axial_image_points(patients: Patients, view: View, size: int) -> Tensor:
    axis = view.axis_mm(size)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([columns, -rows], dim=-1).flatten(0, 1)
    height = patients.slice_mm[:, None, None].expand(-1, len(grid), 1)
    return torch.cat([grid.expand(len(patients), -1, -1), height], dim=-1)


def test_a_grid_is_the_pointwise_map(adults):
    """The separable warp of a slice against the same map taken point by point."""
    size = 20
    grid = template_points(adults, HEAD, size).flatten(1, 2)
    torch.testing.assert_close(
        grid, to_template(adults, axial_image_points(adults, HEAD, size)), rtol=0, atol=1e-3
    )


def test_the_slice_lies_in_the_volume(adults):
    """Volume slices at the patient's own height against the axial view."""
    size = 24
    step = VOLUME.spacing_mm(size)
    heights = VOLUME.axis_mm(size) + 5.0
    level = (heights[None] - adults.slice_mm[:, None]).abs().argmin(1)
    moved = replace(adults, slice_mm=heights[level])
    volume = template_points(adults, VOLUME, size)
    chosen = volume[torch.arange(len(adults)), level]
    torch.testing.assert_close(chosen, slice_points(moved, VOLUME, size), rtol=0, atol=1e-3)
    gaps = (volume[:, 1:] - volume[:, :-1])[..., 2]
    assert (gaps > 0).all() and gaps.mean() == pytest.approx(step, rel=0.05)  # from foot to head


def test_the_map_is_invertible(adults):
    """det J > 0 at 600 random points of each of 60 heads, by central differences in float64,
    and the inverse brings points back."""
    people = in_float64(adults)
    rng = np.random.default_rng(3)
    points = torch.from_numpy(rng.uniform(-110, 110, (60, 600, 3)))
    h = 1e-3
    columns = [
        (to_template(people, points + h * e) - to_template(people, points - h * e)) / (2 * h)
        for e in torch.eye(3, dtype=torch.float64)
    ]
    determinant = torch.linalg.det(torch.stack(columns, dim=-1))
    assert determinant.min() > 0.05
    assert determinant.mean() == pytest.approx(1, abs=0.05)
    back = to_image(people, to_template(people, points))
    assert (back - points).abs().max() < 0.05  # a fiftieth of a pixel of 2.5 mm


def test_volumes_are_lost_and_gained_as_the_determinant_says(adults):
    """One quarter of the brain's nominal volume: the pointwise scale of volume, in quantiles."""
    people = in_float64(adults)
    h = 1e-3
    points = torch.from_numpy(np.random.default_rng(4).uniform(-60, 60, (60, 500, 3)))
    columns = [
        (to_template(people, points + h * e) - to_template(people, points - h * e)) / (2 * h)
        for e in torch.eye(3, dtype=torch.float64)
    ]
    # a ball of V ml in the template has V / det J ml in the patient
    scale = 1 / torch.linalg.det(torch.stack(columns, dim=-1))
    low, high = torch.quantile(scale.flatten(), torch.tensor([0.05, 0.95]).double())
    assert 0.5 < low < 0.8 < 1.2 < high < 2.0


def test_ventricles_grow_with_their_number():
    """Fluid in the middle 70 x 90 x 60 mm of the volume (one slice alone may lose some: what lies
    above and below moves as well)."""
    from medxfer_lab.imaging import tissue

    people = draw_patients(6, seed=2, population=ADULTS, burden=HEALTHY)
    middle = (slice(20, 32), slice(15, 33), slice(17, 31))  # of 48 voxels of 5 mm
    fluid = [
        tissue(replace(people, ventricles=torch.full((6,), v)), 48, view=VOLUME)[0][:, 0][
            (slice(None), *middle)
        ].mean((1, 2, 3))
        for v in (-0.5, 0.0, 0.5)
    ]
    assert (fluid[0] < fluid[1]).all() and (fluid[1] < fluid[2]).all()
    assert float((fluid[2] / fluid[0]).mean()) > 1.3


def test_chapter_1_s_slice_is_near_the_exact_warp():
    """Its knots are stretched over pixel centres instead of 192 mm: at most a third of a pixel (of
    2 mm) at 96, where the warp is steepest."""
    people = draw_patients(40, seed=3)
    exact = to_template(people, axial_image_points(people, BRAIN, 96))
    gap = (template_points(people, BRAIN, 96).flatten(1, 2) - exact).norm(dim=-1)
    assert 0 < gap.max() < 0.67 and gap.mean() < 0.2


def test_the_knots_are_interpolated_as_scipy_would_at_the_knots(adults):
    """At a knot the displacement is the knot's own."""
    knots = np.linspace(-96, 96, 5)
    x, y, z = knots[1], -knots[3], knots[2] + 5
    moved = to_template(adults, torch.tensor([[[x, y, z]]]).float().expand(60, 1, 3))
    still = replace(
        adults,
        warp_mm=torch.zeros_like(adults.warp_mm),
        depth_warp_mm=torch.zeros_like(adults.depth_warp_mm),
        ventricles=torch.zeros_like(adults.ventricles),
    )
    plain = replace(adults, ventricles=still.ventricles)
    moved = to_template(plain, torch.tensor([[[x, y, z]]]).float().expand(60, 1, 3))
    without = to_template(still, torch.tensor([[[x, y, z]]]).float().expand(60, 1, 3))
    knot = adults.warp_knots_mm()[:, :, 2, 3, 1].clone()
    # the tilt lifts a point by its own slope times its in-plane displacement
    knot[:, 2] += (knot[:, :2] * adults.tilt).sum(-1)
    torch.testing.assert_close((moved - without)[:, 0], knot, rtol=0, atol=1e-4)


def test_cubic_convolution_against_torch_s_own():
    """Weights of the five knots against torch's bicubic resize of unit knots, corners aligned."""
    from medxfer_lab.imaging.geometry import _knot_weights

    size = 41
    at = torch.linspace(-96, 96, size)
    unit = torch.eye(5)[:, None, :, None].expand(5, 1, 5, 2).contiguous()
    resized = torch.nn.functional.interpolate(unit, (size, 2), mode="bicubic", align_corners=True)
    torch.testing.assert_close(_knot_weights(at), resized[:, 0, :, 0].T, rtol=0, atol=1e-5)
    beyond = _knot_weights(torch.tensor([-300.0, 300.0]))
    torch.testing.assert_close(beyond, torch.eye(5)[[0, 4]])


def test_the_probe_stands_on_the_brain_and_looks_inwards(adults):
    few = adults.take(slice(0, 24))
    points = template_points(few, PROBE, 48)
    assert points.shape == (24, 48, 48, 3)
    points, all_points = points[:, ::4, ::4], points
    image = to_image(in_float64(few), points.double().flatten(1, 2)).reshape(points.shape)
    depth = image[:, 1:, :, 0] - image[:, :-1, :, 0]
    assert (depth.abs() - 4 * 70 / 48).abs().max() < 0.01  # rows are depth
    side = torch.sign(image[:, 0, 6, 0])
    assert (torch.sign(depth[:, 0, 0]) == -side).all()
    assert (image[:, :, 1:, 1] < image[:, :, :-1, 1]).all()  # columns from front to back
    distance = template().distance(all_points)
    start = distance[:, 0, 23:25].mean(1)  # the middle of the probe's face
    assert start.median().abs() < 3 and start.abs().max() < 45


def test_the_distance_map_is_a_distance():
    """|gradient| is 1 almost everywhere, and zero lies on the brain's surface."""
    brain = template()
    outside = brain.outside_mm.numpy()
    slope = np.linalg.norm(np.gradient(outside, brain.spacing_mm), axis=0)
    shell = (outside > 4) & (outside < 30)
    assert np.median(slope[shell]) == pytest.approx(1, abs=0.03)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-60, 60, (1, 1, 300, 3))).float()
    voxel = (points[0, 0].numpy() - brain.origin_mm) / brain.spacing_mm
    oracle = map_coordinates(outside, voxel.T, order=1)
    found = brain.distance(points)[0, 0].numpy()
    near = oracle < 50
    np.testing.assert_allclose(found[near], oracle[near], atol=1e-3)


def test_errors():
    with pytest.raises(ValueError, match="plane is 'oblique'; the planes are axial, volume, probe"):
        View("oblique")
    with pytest.raises(ValueError, match="field_of_view_mm is 0"):
        View("axial", 0)
