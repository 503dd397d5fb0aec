"""Radiographs against loops over rays, photon statistics and finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.attenuation import tissue_attenuation
from medxfer_lab.imaging.scanners.radiograph import (
    RADIOGRAPH_FRONTAL,
    RADIOGRAPH_LATERAL,
    Radiograph,
    calcification_snr,
    detectability_index,
    local_contrast,
    visible_calcification_ml,
)

CLEAN = Radiograph("clean", photons=math.inf, quantise=False)


def volumes(n: int, size: int, seed: int = 0) -> torch.Tensor:
    """Every tissue everywhere: (n, 11, size, size, size) float64."""
    shape = (n, size, size, size)
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(CHANNELS) + 1), shape)
    return torch.from_numpy(shares[..., :-1]).movedim(-1, 1).contiguous()


def slab(thickness: int, n: int = 1, size: int = 16) -> torch.Tensor:
    """White matter, ``thickness`` voxels along the columns: (n, 11, size, size, size)."""
    fractions = torch.zeros(n, len(CHANNELS), size, size, size)
    fractions[:, CHANNELS.index("white_matter"), :, :, :thickness] = 1
    return fractions


@pytest.mark.parametrize("projection", ["lateral", "frontal"])
def test_a_pixel_is_its_ray_s_sum(projection):
    scanner = replace(CLEAN, projection=projection)
    fractions = volumes(2, 5)
    found = scanner.line_integrals(fractions)
    table = tissue_attenuation(scanner.energy_kev)
    assert found.shape == (2, 1, 5, 5)
    for i, row, column in np.ndindex(2, 5, 5):
        z = 4 - row  # the first row is the top of the head, the first slice its foot
        total = 0.0
        for step, c in np.ndindex(5, len(CHANNELS)):
            y, x = (column, step) if projection == "lateral" else (step, column)
            total += table[c] * float(fractions[i, c, z, y, x]) * 240.0 / 5
        assert float(found[i, 0, row, column]) == pytest.approx(total)


def test_photometric_interpretations_are_each_other_s_negative():
    fractions = volumes(1, 6).float()
    bright = Radiograph("a", bits_stored=10)
    dark = replace(bright, photometric="MONOCHROME1")
    ids = torch.tensor([3])
    positive, negative = bright.acquire(fractions, ids, 1), dark.acquire(fractions, ids, 1)
    # both are rounded, and a half rounds to even either way
    assert (positive + negative - 1023).abs().max() <= 1
    assert (bright.units, dark.units) == ("MONOCHROME2", "MONOCHROME1")


def test_bone_is_high_in_monochrome2_and_low_in_monochrome1():
    fractions = slab(8)
    fractions[:, CHANNELS.index("white_matter"), 8:] = 0
    fractions[:, CHANNELS.index("skull"), 8:, :, :8] = 1  # upper half of the head
    for scanner, sign in ((RADIOGRAPH_LATERAL, 1), (RADIOGRAPH_FRONTAL, -1)):
        image = scanner.acquire(fractions, torch.tensor([0]), 0)[0, 0]
        upper, lower = image[:8, :8].mean(), image[8:, :8].mean()
        assert sign * (upper - lower) > 0


def test_values_fit_the_bits_stored():
    fractions = volumes(1, 8).float() * 3  # thick enough to leave the scale
    for bits in (1, 8, 12, 16):
        scanner = Radiograph("b", bits_stored=bits, latitude=2.0)
        image = scanner.acquire(fractions, torch.tensor([0]), 0)
        assert image.dtype == torch.float32 and torch.equal(image, image.round())
        assert 0 <= image.min() and image.max() == scanner.highest_value == 2**bits - 1


@pytest.mark.parametrize("photons", [2e4, 1e6])
def test_noise_is_the_photons_own(photons):
    """ln N of Poisson(m) has mean ln m - 1/(2m) and variance 1/m, to order 1/m.

    Variance of a sample variance: 2 var^2 / n, 4 of them; the next order is 3/(2m) of the variance.
    """
    scanner = Radiograph("c", photons=photons, quantise=False)
    fractions = slab(6, n=40)
    image = scanner.acquire(fractions, torch.arange(40), 2).double() / scanner.highest_value
    line = image * scanner.latitude
    exact = float(scanner.line_integrals(fractions)[0, 0, 0, 0])
    mean = photons * math.exp(-exact)
    n = line.numel()
    assert abs(float(line.mean()) - exact - 1 / (2 * mean)) < 4 / math.sqrt(mean * n)
    assert float(line.var()) == pytest.approx(1 / mean, rel=4 * math.sqrt(2 / n) + 2 / mean)


def test_noise_belongs_to_the_patient_and_the_seed():
    fractions = slab(6, n=3)
    ids = torch.tensor([4, 1, 8])
    images = RADIOGRAPH_LATERAL.acquire(fractions, ids, 3)
    assert torch.equal(RADIOGRAPH_LATERAL.acquire(fractions[:1], ids[1:2], 3)[0], images[1])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(RADIOGRAPH_LATERAL.acquire(fractions, ids, 4), images)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("photons", [math.inf, 5e3])
def test_gradient_is_the_finite_difference(photons, photometric):
    scanner = replace(CLEAN, photons=photons, photometric=photometric, projection="frontal")
    fractions = volumes(1, 3, seed=1).requires_grad_()
    ids = torch.tensor([0])
    assert torch.autograd.gradcheck(lambda f: scanner.acquire(f, ids, 5), fractions)


def test_rounding_passes_the_gradient():
    """A whole count stands in the logarithm's slope, 1/N: it moves that by at most 1/N."""
    fractions = volumes(1, 3, seed=1).requires_grad_()
    smooth, rounded = (Radiograph("g", quantise=q, latitude=20.0) for q in (False, True))
    ids = torch.tensor([0])
    images = [s.acquire(fractions, ids, 5) for s in (smooth, rounded)]
    assert not torch.equal(*images) and images[1].max() < rounded.highest_value
    gradients = [torch.autograd.grad(i.sum(), fractions)[0] for i in images]
    fewest = float((1e6 * torch.exp(-smooth.line_integrals(fractions.detach()))).min())
    assert torch.allclose(*gradients, rtol=2 / fewest)


def test_clipping_stops_the_gradient():
    fractions = (3 * volumes(1, 3)).requires_grad_()
    image = Radiograph("h", latitude=0.5).acquire(fractions, torch.tensor([0]), 0)
    (gradient,) = torch.autograd.grad(image.sum(), fractions)
    assert (image == 4095).all() and not gradient.any()


@pytest.mark.parametrize("projection", ["lateral", "frontal"])
def test_footprint_covers_what_the_lesion_changes(projection):
    scanner = replace(CLEAN, projection=projection)
    fractions = volumes(1, 7)
    masks = torch.zeros(1, 7, 7, 7, dtype=torch.bool)
    masks[0, 1:3, 2, 4:6] = True
    changed = fractions.clone()
    changed[:, CHANNELS.index("calcification")] += masks
    moved = (scanner.acquire(changed, None, 0) - scanner.acquire(fractions, None, 0))[:, 0] != 0
    assert torch.equal(moved, scanner.footprint(masks))


def test_ideal_observer_by_quadrature():
    """SNR^2 = integral of (shadow / noise)^2 over the shadow, in polar coordinates."""
    scanner, size, line, volume = Radiograph("d", photons=1e5), 480, 4.0, 0.5
    table = dict(zip(CHANNELS, tissue_attenuation(50.0)))
    excess = table["calcification"] - table["white_matter"]
    radius = (3 * volume * 1000 / (4 * math.pi)) ** (1 / 3)
    shadow, _ = quad(lambda s: (2 * excess) ** 2 * (radius**2 - s**2) * 2 * math.pi * s, 0, radius)
    expected = math.sqrt(1e5 * math.exp(-line) * shadow) / (240 / size)
    assert calcification_snr(scanner, volume, size, line) == pytest.approx(expected)


def test_ideal_observer_on_pictures():
    """The matched filter's measured signal-to-noise ratio, on a ball of many pixels.

    n pictures each with and without: the error of (mean difference)/sd is near
    sqrt(2/n + snr^2/2n).
    A ball drawn in voxels and seen in pixels loses a little: 10 %.
    """
    size, n, line, volume = 24, 150, 3.0, 40.0
    scanner = Radiograph("e", photons=60.0 * math.exp(line), field_of_view_mm=120.0, quantise=False)
    table = dict(zip(CHANNELS, tissue_attenuation(50.0)))
    excess = table["calcification"] - table["white_matter"]
    sub = 4
    edge = ((np.arange(size * sub) + 0.5) / sub - size / 2) * 120 / size
    squares = (3000 * volume / (4 * math.pi)) ** (2 / 3) - edge[:, None] ** 2 - edge[None, :] ** 2
    fine = 2 * excess * np.sqrt(squares.clip(min=0))
    shadow = torch.from_numpy(fine.reshape(size, sub, size, sub).mean((1, 3))).float()
    scores = []
    for extra in (0.0, 1.0):
        # a slab that gives the line integral asked for, and the ball's shadow in it
        path = (line + extra * shadow) / table["white_matter"] / (120 / size)
        fractions = torch.zeros(1, len(CHANNELS), size, size, size)
        fractions[0, CHANNELS.index("white_matter"), :, :, 0] = path.flip(0)
        pictures = scanner.acquire(
            fractions.expand(n, -1, -1, -1, -1), torch.arange(n) + int(1000 * extra), 7
        )
        measured = pictures[:, 0] / scanner.highest_value * scanner.latitude
        scores.append((measured * shadow).sum((1, 2)).double())
    snr = float((scores[1].mean() - scores[0].mean()) / scores[0].std())
    expected = calcification_snr(scanner, volume, size, line)
    error = math.sqrt(2 / n + expected**2 / (2 * n))
    assert abs(snr - expected) < 3 * error + 0.1 * expected


def test_visible_size_is_where_the_ratio_is_reached():
    for scanner in (RADIOGRAPH_LATERAL, RADIOGRAPH_FRONTAL, Radiograph("f", photons=3e3)):
        found = visible_calcification_ml(scanner, 96, 4.0)
        root = brentq(lambda v, s=scanner: calcification_snr(s, v, 96, 4.0) - 5, 1e-6, 1e3)
        assert found == pytest.approx(root)
    fewer = replace(RADIOGRAPH_LATERAL, photons=RADIOGRAPH_LATERAL.photons / 16)
    small, large = (visible_calcification_ml(s, 960, 4.0) for s in (RADIOGRAPH_LATERAL, fewer))
    # r^4 goes with 1/dose: a 16th of the dose, twice the radius, eight times the volume
    assert large / small == pytest.approx(8.0)


def test_local_contrast_compares_with_the_ring():
    generator = np.random.default_rng(0)
    pictures = torch.from_numpy(generator.standard_normal((3, 1, 40, 40)))
    footprints = torch.zeros(3, 40, 40, dtype=torch.bool)
    footprints[:2, 18:22, 18:22] = True
    pictures[1, 0, 18:22, 18:22] += 5.0
    pictures[1, 0, 17, 17] = 1e6  # next to the shadow, in neither shadow nor ring
    pictures[1, 0, 13, 13] = 1e6  # beyond the ring
    found = local_contrast(pictures, footprints)
    # 16 pixels inside; a square of 12 less a square of 6 around them
    error = math.sqrt(1 / 16 + 1 / 108)
    assert abs(float(found[0])) < 4 * error
    assert abs(float(found[1]) - 5) < 4 * error
    assert found[2].isnan()


def test_detectability_is_the_area_under_the_curve_of_normal_scores():
    generator = torch.Generator().manual_seed(0)
    absent = torch.randn(4000, dtype=torch.float64, generator=generator)
    present = 1.81 + torch.randn(4000, dtype=torch.float64, generator=generator)
    found = detectability_index(torch.cat([present, torch.tensor([float("nan")])]), absent)
    assert found == pytest.approx(1.81, abs=4 * math.sqrt(2 / 4000 + 1.81**2 / 16000))
    area = roc_auc_score([1] * 4000 + [0] * 4000, torch.cat([present, absent]))
    assert norm.cdf(found / math.sqrt(2)) == pytest.approx(area, abs=4 * 0.5 / math.sqrt(4000))
    with pytest.raises(ValueError, match="1 scores with and 4000 without"):
        detectability_index(present[:1], absent)


def test_the_protocol():
    assert (RADIOGRAPH_LATERAL.view.plane, RADIOGRAPH_LATERAL.view.field_of_view_mm) == (
        "volume",
        240.0,
    )
    assert RADIOGRAPH_LATERAL.name != RADIOGRAPH_FRONTAL.name


def test_errors_name_the_way_out():
    with pytest.raises(ValueError, match="from a view with plane 'volume'"):
        CLEAN.acquire(torch.zeros(1, 11, 8, 8), None, 0)
    for wrong, words in (
        ({"photons": 0.0}, "photons is 0.0"),
        ({"latitude": -1.0}, "latitude is -1.0"),
        ({"projection": "axial"}, "projection is 'axial'; choose from lateral, frontal"),
        ({"photometric": "RGB"}, "photometric is 'RGB'; choose from MONOCHROME1, MONOCHROME2"),
        ({"bits_stored": 17}, "bits_stored is 17"),
        ({"energy_kev": 5.0}, "the tables reach"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(CLEAN, **wrong)
    with pytest.raises(ValueError, match="snr is 0; a threshold is positive"):
        visible_calcification_ml(CLEAN, 96, 4.0, snr=0)
