"""Lesions: the laws they are drawn from, oedema, and a tube that only a volume gives away."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from medxfer_lab.imaging import ADULTS, HEALTHY, Burden, Disease, draw_patients, tissue
from medxfer_lab.imaging.anatomy import CHANNELS, Template
from medxfer_lab.imaging.geometry import HEAD, View
from medxfer_lab.imaging.lesions import COMPARTMENT, DISEASES, KINDS, ball, tube
from medxfer_lab.imaging.patients import Population

NOTHING_ELSE = replace(ADULTS, vessels=0.0)
VOLUME = View("volume", 240.0)


def only(*diseases: Disease) -> Burden:
    return Burden(affected=0.0, lookalikes=0.0, others=diseases)


def channel(fractions: torch.Tensor, name: str) -> torch.Tensor:
    return fractions[:, CHANNELS.index(name)]


def test_a_disease_has_the_laws_stated():
    disease = Disease("metastasis", mean=1.2, volume_ml=(0.5, 4.0), filling=(0.6, 0.9), mimic=0.3)
    people = draw_patients(1500, seed=1, burden=only(disease))
    slots = people.kind[:, 5:]
    law = stats.poisson(disease.mean)
    seen = np.bincount((slots > 0).sum(1).numpy(), minlength=5)
    expected = 1500 * np.array([*law.pmf([0, 1, 2, 3]), law.sf(3)])
    assert stats.chisquare(seen, expected).pvalue > 1e-3
    low, high = np.log(disease.volume_ml)
    volume = np.log(4 / 3 * math.pi * (people.radius_mm[:, 5:][slots > 0].numpy() / 10) ** 3)
    assert stats.kstest(volume, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    filling = people.infiltration[:, 5:].flatten().numpy()
    assert stats.kstest(filling, stats.uniform(0.6, 0.3).cdf).pvalue > 1e-3
    tubes = (slots == KINDS.index("tube")).any(1)
    balls = (slots == KINDS.index("metastasis")).any(1)
    assert not (tubes & balls).any()  # all of a patient's, or none
    some = tubes | balls
    assert stats.binomtest(int(tubes.sum()), int(some.sum()), 0.3).pvalue > 1e-3


def test_changing_one_disease_leaves_the_others_and_the_anatomy():
    both = only(Disease("metastasis"), Disease("haemorrhage", volume_ml=(2, 40)))
    more = only(Disease("metastasis"), Disease("haemorrhage", mean=3.0, volume_ml=(9, 40)))
    a, b = (draw_patients(30, seed=4, population=ADULTS, burden=x) for x in (both, more))
    vessels = 5 + 6
    for name in ("kind", "centre_mm", "radius_mm", "waves"):
        assert torch.equal(getattr(a, name)[:, : vessels + 4], getattr(b, name)[:, : vessels + 4])
    for name in ("slice_mm", "affine", "depth_warp_mm", "ventricles", "skull_mm", "scalp_mm"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.volume_ml("haemorrhage").sum() != b.volume_ml("haemorrhage").sum()


@pytest.mark.parametrize("kind", DISEASES)
def test_each_disease_fills_its_compartment_and_the_mask(kind):
    if kind == "glioma":
        burden = Burden(affected=1.0, lookalikes=0.0)
    else:
        burden = only(Disease(kind, at_least=1, most=1, volume_ml=(4.0, 8.0)))
    people = draw_patients(12, seed=6, population=NOTHING_ELSE, burden=burden)
    sick, mask = tissue(people, 64, view=HEAD)
    well, nothing = tissue(replace(people, kind=torch.zeros_like(people.kind)), 64, view=HEAD)
    change = channel(sick, COMPARTMENT[kind]) - channel(well, COMPARTMENT[kind])
    assert (change.flatten(1).max(1).values > 0.1).all()
    assert mask.any((1, 2)).all() and not nothing.any()
    torch.testing.assert_close(sick.sum(1), well.sum(1), rtol=0, atol=1e-5)
    assert torch.equal(sick[:, CHANNELS.index("skull")], well[:, CHANNELS.index("skull")])


def test_volume_in_the_template_is_the_nominal_volume():
    """No pose, brain everywhere: the membership summed over a 240 mm volume against 4/3 pi r^3."""
    still = Population(rotation_deg=0, tilt_deg=0, scale=0, shear=0, shift_mm=0, warp_mm=0)
    everywhere = Template(torch.full((3, 2, 2, 2), 1 / 3), (-500.0, -500.0, -500.0), 1000.0)
    disease = Disease("haemorrhage", at_least=1, most=1, volume_ml=(20, 40), filling=(1, 1))
    people = draw_patients(3, seed=5, population=still, burden=only(disease))
    size = 64
    fractions, mask = tissue(people, size, everywhere, VOLUME)
    voxel_ml = (240 / size / 10) ** 3
    found = channel(fractions, "haematoma").sum((1, 2, 3)) * voxel_ml
    # the rim is a sigmoid of scale s = EDGE_MM/2: mean r^3 is r^3 + pi^2 s^2 r for s << r
    radius, s = people.radius_mm[:, 5], 0.75
    expected = 4 / 3 * math.pi * (radius**3 + math.pi**2 * s**2 * radius) / 1000
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
    counted = mask.sum((1, 2, 3)) * voxel_ml
    torch.testing.assert_close(counted, people.volume_ml("haemorrhage"), rtol=0.05, atol=0)


def test_oedema_lies_around_its_lesion():
    disease = Disease(
        "metastasis", at_least=1, most=1, volume_ml=(3, 4), filling=(1, 1), halo=(2, 2)
    )
    people = draw_patients(6, seed=8, population=NOTHING_ELSE, burden=only(disease))
    fractions, mask = tissue(people, 96, view=HEAD)
    core, oedema = channel(fractions, "enhancing"), channel(fractions, "oedema")
    brain = fractions[:, :9].sum(1)
    for i in range(6):
        solid = core[i] > 0.9
        assert oedema[i][solid].max() < 0.1
        area = (core[i] + oedema[i]).sum() / core[i].sum()
        assert 2.0 < area < 8.0  # twice the radius: four times the area where brain surrounds it
    assert (brain <= 1 + 1e-5).all() and torch.equal(mask, (core > 0.5) & mask)


MATCHED = only(Disease("metastasis", at_least=1, most=3, volume_ml=(0.5, 4.0), mimic=0.5))


def shape_features(cut: torch.Tensor) -> np.ndarray:
    """Size, peak, sum, and axes of the bright spots of each image: (n, 7)."""
    rows = []
    for image in cut.double():
        total = image.sum().clamp(min=1e-9)
        axis = torch.arange(image.shape[-1], dtype=torch.float64)
        y, x = (image.sum(1 - a) / total for a in (0, 1))
        cy, cx = (y * axis).sum(), (x * axis).sum()
        vy, vx = (y * (axis - cy) ** 2).sum(), (x * (axis - cx) ** 2).sum()
        cross = (image / total * torch.outer(axis - cy, axis - cx)).sum()
        spread = ((vy - vx).square() / 4 + cross.square()).sqrt()
        area = (image > 0.4).sum()
        rows.append([total, image.max(), area, (vy + vx) / 2, spread, cy, cx])
    return np.array([[float(v) for v in row] for row in rows])


def forest_auc(features: np.ndarray, labels: np.ndarray) -> float:
    half = len(labels) // 2
    forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=0)
    forest.fit(features[:half], labels[:half])
    return roc_auc_score(labels[half:], forest.predict_proba(features[half:])[:, 1])


@pytest.mark.slow
def test_no_slice_tells_tube_from_metastasis():
    """Same law in the slice: AUC of a forest on shape features within chance; a sharper check is
    that turning every tube into a ball changes no pixel of the slice at all."""
    n = 1200
    people = draw_patients(n, seed=13, population=NOTHING_ELSE, burden=MATCHED)
    cut = channel(tissue(people, 64, view=HEAD)[0], "enhancing")
    as_balls = replace(
        people,
        kind=torch.where(
            people.kind == KINDS.index("tube"), KINDS.index("metastasis"), people.kind
        ),
    )
    assert torch.equal(channel(tissue(as_balls, 64, view=HEAD)[0], "enhancing"), cut)
    labels = (people.volume_ml("metastasis") > 0).numpy()
    auc = forest_auc(shape_features(cut), labels)
    # under chance the AUC of 600 held-out patients has sd sqrt((n1 + n0 + 1) / (12 n1 n0)) = .024
    assert abs(auc - 0.5) < 3.3 * math.sqrt(601 / (12 * 300 * 300))


@pytest.mark.slow
def test_the_volume_tells_tube_from_metastasis():
    """The extent along z alone: how much of it lies more than 15 mm above or below the slice."""
    people = draw_patients(36, seed=14, population=NOTHING_ELSE, burden=MATCHED)
    volume = torch.cat(
        [
            channel(tissue(people.take(p), 48, view=VOLUME)[0], "enhancing")
            for p in torch.arange(36).split(4)
        ]
    )
    height = VOLUME.axis_mm(48) + 5
    away = (height[None] - people.slice_mm[:, None]).abs() > 15
    far = (volume.sum((2, 3)) * away).sum(1) / volume.sum((1, 2, 3))
    labels = (people.volume_ml("metastasis") > 0).numpy()
    assert 8 < labels.sum() < 28
    assert roc_auc_score(labels, -far.numpy()) > 0.99


def test_tube_and_ball_in_plain_python():
    rng = np.random.default_rng(0)
    offset = torch.from_numpy(rng.uniform(-12, 12, (50, 3)))
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    waves = torch.zeros(5, 4, dtype=torch.float64)
    found_tube, found_ball = tube(offset, direction, 3.0), ball(offset, 6.0, 0.0, waves)
    for i, point in enumerate(offset.tolist()):
        along = 0.6 * point[0] + 0.8 * point[2]
        across = math.sqrt(sum(v * v for v in point) - along**2)
        ends = 1 / (1 + math.exp(-(30 - abs(along)) / 0.75))
        wall = 1 / (1 + math.exp(-(3 - across) / 0.75))
        assert float(found_tube[i]) == pytest.approx(wall * ends, rel=1e-6)
        distance = math.sqrt(sum(v * v for v in point))
        assert float(found_ball[i]) == pytest.approx(1 / (1 + math.exp((distance - 6) / 0.75)))


def test_a_healthy_head_has_layers_from_inside_out():
    people = draw_patients(10, seed=3, population=NOTHING_ELSE, burden=HEALTHY)
    fractions, mask = tissue(people, 96, view=HEAD)
    assert not mask.any()
    assert fractions.min() > -1e-6 and fractions.sum(1).max() < 1 + 1e-5
    brain = fractions[:, :3].sum(1)
    skull, scalp = channel(fractions, "skull"), channel(fractions, "scalp")
    row = 48
    for i in range(10):
        order = [int((c[i, row] > 0.3).nonzero()[0]) for c in (scalp, skull, brain)]
        assert order[0] < order[1] < order[2]  # from the side: scalp, bone, brain
    # the corner is air
    assert fractions[:, :, 0, 0].abs().max() < 1e-4


def test_errors():
    with pytest.raises(ValueError, match="kind is 'wart'; the kinds are glioma"):
        Disease("wart")
    with pytest.raises(ValueError, match="mimic is 1.5; it is a probability"):
        Disease("metastasis", mimic=1.5)
    with pytest.raises(ValueError, match="at_least is 5 and most is 4"):
        Disease("metastasis", at_least=5)
    with pytest.raises(ValueError, match=r"volume_ml is \(0, 1\); need 0 < low <= high"):
        Disease("metastasis", volume_ml=(0, 1))
    with pytest.raises(ValueError, match="kind is 'wart'"):
        draw_patients(1, seed=0).volume_ml("wart")
