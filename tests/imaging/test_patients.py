"""Patients: the same person everywhere, an invertible warp, lesions where their outline says."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from medxfer_lab.imaging.anatomy import Template, template
from medxfer_lab.imaging.draw import draw_patients
from medxfer_lab.imaging.geometry import BRAIN, template_points
from medxfer_lab.imaging.lesions import KINDS, Burden
from medxfer_lab.imaging.patients import Patients, Population
from medxfer_lab.imaging.rendering import tissue

GLIOMA, LOOKALIKE = KINDS.index("glioma"), KINDS.index("lookalike")
POSE = ("slice_mm", "affine", "shift_mm", "tilt", "warp_mm")
STILL = Population(rotation_deg=0, tilt_deg=0, scale=0, shear=0, shift_mm=0, warp_mm=0)


def equal(a: Patients, b: Patients) -> bool:
    return all(
        torch.equal(getattr(a, f.name), getattr(b, f.name))
        for f in fields(Patients)
        if isinstance(getattr(a, f.name), Tensor)
    )


@pytest.fixture(scope="module")
def many() -> Patients:
    return draw_patients(2000, seed=3)


def test_a_patient_does_not_depend_on_the_others():
    five = draw_patients(5, seed=8)
    assert equal(draw_patients(3, seed=8, first=2), five.take(slice(2, 5)))
    assert equal(five.take(torch.tensor([4, 0])), draw_patients(5, seed=8).take([4, 0]))
    assert five.take(torch.tensor([4, 0])).ids.tolist() == [4, 0]


def test_a_picture_does_not_depend_on_the_batch():
    people = draw_patients(5, seed=8)
    fractions, mask = tissue(people, 48)
    few, few_mask = tissue(people.take(torch.tensor([4, 1])), 48)
    # the same sums in another batch may be rounded otherwise: a few float32 eps
    torch.testing.assert_close(few, fractions[[4, 1]], rtol=0, atol=2e-6)
    assert torch.equal(few_mask, mask[[4, 1]])


def test_seeds_are_independent(many):
    """Correlation of every pose number over 2,000 patients, neighbouring seeds and numbers."""
    other = draw_patients(2000, seed=4)
    for a, b in ((many, other), (many.take(slice(1, None)), many.take(slice(0, -1)))):
        for name in POSE:
            left, right = (getattr(p, name).flatten(1 if name != "slice_mm" else 0) for p in (a, b))
            left, right = (v.reshape(len(a), -1).double() for v in (left, right))
            left, right = ((v - v.mean(0)) / v.std(0) for v in (left, right))
            correlation = (left * right).mean(0).abs()
            # each is normal with sd 1/sqrt(n); the largest of 59 stays below 4.5 sd
            assert correlation.max() < 4.5 / math.sqrt(len(a)), name


def test_pose_has_the_distributions_stated(many):
    """Kolmogorov-Smirnov against Population's docstring; fixed seed, so p > .001 stays true."""
    low, high = Population().slice_mm
    draws = {
        "slice": (many.slice_mm, stats.uniform(low, high - low)),
        "shift": (many.shift_mm.flatten(), stats.norm(0, Population().shift_mm)),
        "warp": (many.warp_mm.flatten(), stats.norm(0, Population().warp_mm)),
        "tilt": (many.tilt.atan().flatten() * 180 / math.pi, stats.norm(0, Population().tilt_deg)),
        # det(turn skew diag(size)) = size_x size_y
        "size": (many.affine.det().log(), stats.norm(0, Population().scale * math.sqrt(2))),
        "angle": (
            torch.atan2(many.affine[:, 1, 0], many.affine[:, 0, 0]) * 180 / math.pi,
            stats.norm(0, Population().rotation_deg),
        ),
    }
    for name, (values, law) in draws.items():
        assert stats.kstest(values.numpy(), law.cdf).pvalue > 1e-3, name


def test_burden_has_the_distributions_stated(many):
    burden = Burden()
    ill = many.kind[:, 0] == GLIOMA
    assert stats.binomtest(int(ill.sum()), len(ill), burden.affected).pvalue > 1e-3
    low, high = np.log(burden.volume_ml)
    volume = many.volume_ml("glioma")[ill].log()
    assert stats.kstest(volume.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
    spots = (many.kind == LOOKALIKE).sum(1).numpy()
    law = stats.poisson(burden.lookalikes)
    shares = np.array([*law.pmf([0, 1, 2, 3]), law.sf(3)])  # at most four
    seen = np.bincount(spots, minlength=5)
    assert stats.chisquare(seen, len(spots) * shares).pvalue > 1e-3
    # in every patient alike: no shortcut from the number of spots to the disease
    table = np.stack([np.bincount(spots[ill == g], minlength=5) for g in (False, True)])
    assert stats.chi2_contingency(table).pvalue > 1e-3
    share = many.infiltration[ill, 0]
    law = stats.uniform(burden.infiltration[0], burden.infiltration[1] - burden.infiltration[0])
    assert stats.kstest(share.numpy(), law.cdf).pvalue > 1e-3


def test_volume_is_that_of_a_ball():
    people = draw_patients(30, seed=1, burden=Burden(affected=1.0))
    for i in range(30):
        for kind in ("glioma", "lookalike"):
            radii = people.radius_mm[i][people.kind[i] == KINDS.index(kind)].tolist()
            expected = sum(4 / 3 * math.pi * r**3 for r in radii) / 1000  # mm^3 in a ml
            assert float(people.volume_ml(kind)[i]) == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_warp_is_invertible():
    """The in-plane Jacobian determinant is positive at every pixel of 1,000 patients.

    Forward differences of pixel (column, row up) -> template (x, y). A fold anywhere would give a
    determinant below zero there.
    """
    people, size = draw_patients(1000, seed=11), 48
    points = template_points(people, BRAIN, size)[..., :2].double()
    step = BRAIN.field_of_view_mm / size
    by_column = (points[:, :-1, 1:] - points[:, :-1, :-1]) / step
    by_row_up = (points[:, :-1, :-1] - points[:, 1:, :-1]) / step
    determinant = by_column[..., 0] * by_row_up[..., 1] - by_column[..., 1] * by_row_up[..., 0]
    assert determinant.min() > 0.1  # 0.28 here, 0.19 over 3,000 others: no fold
    assert determinant.mean() == pytest.approx(1, abs=0.02)  # and no systematic growth


def test_identity_pose_shows_the_template_itself():
    """No warp, no pose: pixel (r, c) is the template at MNI x = its column, y = minus its row."""
    people = draw_patients(2, seed=0, population=STILL, burden=Burden(affected=0, lookalikes=0))
    size = 32
    fractions, mask = tissue(people, size)
    centre = (np.arange(size) + 0.5) * BRAIN.field_of_view_mm / size - BRAIN.field_of_view_mm / 2
    for i in range(2):
        world = np.empty((size, size, 3), dtype=np.float32)
        for r in range(size):
            for c in range(size):
                world[r, c] = centre[c], -centre[r] - 18, people.slice_mm[i]
        expected = template().sample(torch.from_numpy(world)[None])[0]
        torch.testing.assert_close(fractions[i, :3], expected, rtol=0, atol=1e-4)
    assert fractions[:, 3].max() == 0 and not mask.any()


def test_lesions_replace_tissue_and_add_none():
    people = draw_patients(20, seed=5, burden=Burden(affected=1.0, lookalikes=3.0))
    healthy = draw_patients(20, seed=5, burden=Burden(affected=0.0, lookalikes=0.0))
    ill, well = tissue(people, 48)[0], tissue(healthy, 48)[0]
    assert ill.min() >= 0 and ill.max() <= 1
    torch.testing.assert_close(ill.sum(1), well.sum(1), rtol=0, atol=1e-5)
    assert (ill[:, :3] <= well[:, :3] + 1e-6).all()
    assert ill[:, 3].flatten(1).max(1).values.min() > 0.1


def test_changing_the_disease_leaves_the_anatomy():
    base = draw_patients(20, seed=6)
    for burden in (Burden(affected=1.0), Burden(volume_ml=(1.0, 2.0)), Burden(lookalikes=0.2)):
        other = draw_patients(20, seed=6, burden=burden)
        assert all(torch.equal(getattr(base, name), getattr(other, name)) for name in POSE)
    # with the same look-alikes the lesions keep their places too: a counterfactual cohort
    bigger = draw_patients(20, seed=6, burden=Burden(affected=1.0, volume_ml=(20.0, 90.0)))
    assert torch.equal(base.centre_mm, bigger.centre_mm)
    assert torch.equal(base.waves, bigger.waves)


def loop_outline(people: Patients, i: int, slot: int, point: np.ndarray) -> float:
    """Distance from the centre in radii plus the ripple, in plain Python."""
    radius = float(people.radius_mm[i, slot])
    offset = [(float(p) - float(c)) / radius for p, c in zip(point, people.centre_mm[i, slot])]
    outline = math.sqrt(sum(o * o for o in offset))
    for wave in people.waves[i, slot].tolist():
        turns = sum(o * w for o, w in zip(offset, wave[:3]))
        ripple = math.sin(2 * math.pi * turns + wave[3])
        outline += float(people.irregularity[i, slot]) * ripple
    return outline


def test_mask_and_lesion_are_what_the_outline_says():
    people = draw_patients(6, seed=21, burden=Burden(affected=1.0, lookalikes=2.0))
    size = 40
    fractions, mask = tissue(people, size)
    points = template_points(people, BRAIN, size)
    inside = template().sample(points).sum(1)
    checked = 0
    for i in range(6):
        for r in range(0, size, 2):
            for c in range(0, size, 2):
                point, room_left = points[i, r, c].numpy(), float(inside[i, r, c])
                lesion = 0.0
                for slot in range(people.kind.shape[1]):
                    if people.kind[i, slot] == 0:
                        continue
                    outline = loop_outline(people, i, slot, point)
                    edge = float(people.radius_mm[i, slot]) / 1.5 * 2
                    member = 1 / (1 + math.exp(-min((1 - outline) * edge, 700)))
                    share = member * float(people.infiltration[i, slot])
                    lesion += share * (room_left - lesion)
                # float32 against float64: offsets in radii up to 40, slopes of the rim up to 20
                assert float(fractions[i, 3, r, c]) == pytest.approx(lesion, abs=2e-3)
                outline = loop_outline(people, i, 0, point)
                if abs(outline - 1) > 1e-3 and abs(room_left - 0.5) > 1e-3:
                    assert bool(mask[i, r, c]) == (outline < 1 and room_left > 0.5)
                    checked += bool(mask[i, r, c])
    assert checked > 50


def test_area_of_a_round_lesion():
    """No pose, no ripple, brain everywhere: pixels of the mask against pi r^2.

    A pixel's centre lies inside only if the pixel lies within r + h/sqrt(2), and the other way
    round: |area - pi r^2| <= 2 pi r h/sqrt(2) + pi h^2/2. On average the error is far smaller.
    """
    burden = Burden(affected=1.0, irregularity=0.0, lookalikes=0.0, volume_ml=(6.0, 50.0))
    people = draw_patients(40, seed=9, population=STILL, burden=burden)
    everywhere = Template(torch.full((3, 2, 2, 2), 1 / 3), (-500.0, -500.0, -500.0), 1000.0)
    h = BRAIN.field_of_view_mm / 96
    area = tissue(people, 96, everywhere)[1].sum((1, 2)).double() * h**2
    radius = people.radius_mm[:, 0].double()
    bound = 2 * math.pi * radius * h / math.sqrt(2) + math.pi * h**2 / 2
    expected = math.pi * radius**2
    assert ((area - expected).abs() <= bound).all()
    assert float((area / expected).mean()) == pytest.approx(1, abs=0.01)


def test_only_the_disease_is_masked():
    people = draw_patients(150, seed=12)
    mask = tissue(people, 32)[1]
    ill = people.volume_ml("glioma") > 0
    assert 0 < ill.sum() < 150
    assert torch.equal(mask.any((1, 2)), ill)
    spots = draw_patients(20, seed=12, burden=Burden(affected=0.0, lookalikes=4.0))
    assert spots.volume_ml("lookalike").max() > 0
    assert not tissue(spots, 32)[1].any()


def test_errors():
    with pytest.raises(ValueError, match="n is 0; a cohort needs at least one patient"):
        draw_patients(0, seed=1)
    with pytest.raises(ValueError, match="size is 8 pixels; a brain needs at least 16"):
        tissue(draw_patients(1, seed=1), 8)
