"""CT against scikit-image's projections, linear noise propagation and finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.transform import iradon, radon

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.attenuation import HOUNSFIELD, tissue_attenuation, water_attenuation
from medxfer_lab.imaging.scanners.base import stream
from medxfer_lab.imaging.scanners.ct import (
    CT,
    CT_CONTRAST,
    CT_ROUTINE,
    CT_SHARP_LOW_DOSE,
    to_int16,
)
from medxfer_lab.imaging.windows import BONE_WINDOW, BRAIN_WINDOW, SUBDURAL_WINDOW, window

SMALL = CT("small", photons=1e5, views=40)
IDS = torch.arange(2)


def disc(size: int, radius: float, sub: int = 8) -> np.ndarray:
    """Coverage of each pixel by a disc around the middle of pixel size // 2, in [0, 1]."""
    edge = (np.arange(size * sub) + 0.5) / sub - 0.5 - size // 2
    inside = edge[:, None] ** 2 + edge[None, :] ** 2 <= radius**2
    return inside.reshape(size, sub, size, sub).mean((1, 3))


def phantom(size: int, radius: float, n: int = 1, tissue: str = "csf") -> torch.Tensor:
    """n discs of one tissue in air: (n, 11, size, size)."""
    fractions = torch.zeros(n, len(CHANNELS), size, size)
    fractions[:, CHANNELS.index(tissue)] = torch.from_numpy(disc(size, radius)).float()
    return fractions


def random_fractions(n: int, size: int, seed: int = 0) -> torch.Tensor:
    """Every tissue everywhere: (n, 11, size, size) float64, sums below 1."""
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(CHANNELS) + 1), (n, size, size))
    return torch.from_numpy(shares[..., :-1]).movedim(-1, 1).contiguous()


def by_scikit_image(scanner: CT, fractions: np.ndarray, patient: int, seed: int) -> np.ndarray:
    """One patient through other people's projection, quantile function and reconstruction."""
    size = fractions.shape[-1]
    spacing = scanner.field_of_view_mm / size
    attenuation = np.tensordot(tissue_attenuation(scanner.energy_kev), fractions, axes=1)
    angles = np.arange(scanner.views) * 180 / scanner.views
    lines = radon(attenuation, theta=angles, circle=False).T  # (views, ceil(sqrt(2) size))
    width = math.ceil(math.sqrt(2) * size)
    # ours is one element wider: its middle is either the same element or the next one
    before = (width + 1) // 2 - width // 2
    lines = np.pad(lines, ((0, 0), (before, 1 - before))) * spacing
    normal = stream(seed, patient).standard_normal(lines.shape, dtype=np.float32)
    counts = stats.poisson.ppf(stats.norm.cdf(normal), scanner.photons * np.exp(-lines))
    measured = np.log(scanner.photons / counts.clip(min=0.5)) / spacing
    longer = np.pad(measured, ((0, 0), (4, 4)))
    found = iradon(longer.T, theta=angles, circle=False, output_size=size, filter_name="ramp")
    return (1000 * (found / water_attenuation(scanner.energy_kev) - 1)).clip(-1024, 3071)


@pytest.mark.parametrize("size", [24, 25])
def test_the_whole_chain_is_what_other_libraries_give(size):
    """A small head of all tissues; a count that differs by one moves a pixel by under 1 HU."""
    scanner = replace(SMALL, kernel="sharp")
    fractions = random_fractions(2, size) * torch.from_numpy(disc(size, 0.4 * size))
    found = scanner.acquire(fractions, torch.tensor([4, 9]), seed=3)
    assert found.shape == (2, 1, size, size)
    for k, patient in enumerate((4, 9)):
        expected = by_scikit_image(scanner, fractions[k].numpy(), patient, 3)
        apart = np.abs(found[k, 0].numpy() - expected)
        assert apart.max() < 0.5 + 1
        assert (apart < 0.5 + 1e-6).mean() > 0.99  # but for such a count, rounding is all


@pytest.mark.parametrize("kernel", ["sharp", "smooth"])
@pytest.mark.parametrize("radius", [16.0, 36.0])
def test_water_is_0_and_air_is_minus_1000(kernel, radius):
    """Without noise. A pixel away from edges sees what 180 views leave of the edge's overshoot.

    The ramp's tail falls as 1/(pi k)^2: 4 pixels off, an edge of 1000 HU sampled one pixel apart
    leaves at most 1000/(pi 4)^2 = 6.3 HU of one view's ripple; averaged over many views with
    unrelated phases the mean of a region must do far better: 0.2 HU here.
    """
    scanner = CT("clean", photons=math.inf, kernel=kernel, quantise=False)
    fractions = phantom(96, radius)
    found = scanner.acquire(fractions, IDS[:1], 0)[0, 0]
    centre = np.arange(96) - 48
    distance = torch.from_numpy(np.hypot(centre[:, None], centre[None, :]))
    water, air = found[distance < radius - 4], found[distance > radius + 4]
    assert abs(float(water.mean()) - HOUNSFIELD["csf"]) < 0.2
    assert abs(float(air.mean()) + 1000) < 0.2
    assert float((water - HOUNSFIELD["csf"]).std()) < 6.3
    assert float((air + 1000).std()) < 6.3


@pytest.mark.parametrize("tissue", ["grey_matter", "haematoma", "calcification", "skull"])
@pytest.mark.parametrize("energy", [50.0, 70.0])
def test_a_tissue_reads_its_hounsfield_units(tissue, energy):
    scanner = CT("clean", photons=math.inf, quantise=False, energy_kev=energy)
    found = scanner.acquire(phantom(64, 20, tissue=tissue), IDS[:1], 0)[0, 0, 24:41, 24:41]
    mu = dict(zip(CHANNELS, tissue_attenuation(energy)))[tissue]
    expected = 1000 * (mu / water_attenuation(energy) - 1)
    assert float(found.mean()) == pytest.approx(expected, abs=0.001 * (expected + 1000))


def sensitivity(scanner: CT, expected: torch.Tensor, pixel: tuple[int, int], size: int):
    """How one pixel depends on the logarithm of each count: the row of the reconstruction."""
    logarithm = expected.log().detach().requires_grad_()
    value = scanner.reconstruct(logarithm.exp(), size)[0, 0][pixel]
    return torch.autograd.grad(value, logarithm)[0]


@pytest.mark.parametrize("kernel", ["sharp", "smooth"])
def test_noise_is_photon_noise_propagated(kernel):
    """var = sum over rays of (d HU / d ln N)^2 / mean count, for 1/m is the variance of ln N.

    n patients: the sample variance has relative standard error sqrt(2/(n - 1)); 4 of them. The
    logarithm's second order adds at most 3/(2 m) of the variance, under 0.1 % at 2,000 counts.
    """
    n, size = 600, 32
    scanner = replace(SMALL, kernel=kernel, quantise=False)
    fractions = phantom(size, 11.0, n)
    expected = scanner.expected_counts(fractions[:1])
    assert expected.min() > 2000
    images = scanner.acquire(fractions, torch.arange(n), seed=5)[:, 0].double()
    for pixel in ((16, 16), (16, 22), (9, 20)):
        row = sensitivity(scanner, expected, pixel, size)
        predicted = float((row**2 / expected).sum())
        measured = float(images[:, pixel[0], pixel[1]].var())
        assert measured == pytest.approx(predicted, rel=4 * math.sqrt(2 / (n - 1)) + 1e-3)


def region_sd(scanner: CT, n: int = 60) -> tuple[float, float]:
    """Noise in the middle of a disc, and the relative standard error of that number."""
    fractions = phantom(32, 11.0, n)
    noise = scanner.acquire(fractions, torch.arange(n), seed=6)[:, 0]
    noise = (noise - noise.mean(0)).double()
    # neighbours are correlated: take every fourth pixel as independent, which the kernels are
    # beyond a few pixels (their lag-4 correlation is below 0.05), and do not count the others
    middle = noise[:, 12:21:4, 12:21:4]
    return float(middle.std()), 1 / math.sqrt(2 * middle.numel())


@pytest.mark.parametrize("kernel", ["sharp", "smooth"])
def test_noise_falls_as_one_over_the_root_of_the_dose(kernel):
    scanner = replace(SMALL, kernel=kernel, quantise=False)
    low, error = region_sd(replace(scanner, photons=5e4))
    high, _ = region_sd(replace(scanner, photons=8e5))
    assert low / high == pytest.approx(4.0, rel=4 * math.sqrt(2) * error)


def test_the_sharp_kernel_is_sharper_and_noisier():
    smooth, sharp = replace(SMALL, kernel="smooth"), replace(SMALL, kernel="sharp")
    assert region_sd(sharp)[0] > 2 * region_sd(smooth)[0]
    steps = []
    for scanner in (smooth, sharp):
        clean = replace(scanner, photons=math.inf, quantise=False, views=120)
        profile = clean.acquire(phantom(64, 20.0), IDS[:1], 0)[0, 0, 32]
        steps.append(float(profile.diff().abs().max()))
    assert steps[1] > 1.2 * steps[0]


def test_noise_belongs_to_the_patient_and_the_seed():
    fractions = phantom(24, 8.0, 3)
    images = SMALL.acquire(fractions, torch.tensor([5, 2, 9]), seed=1)
    alone = SMALL.acquire(fractions[:1], torch.tensor([2]), seed=1)
    # sums of another order may move a count across an integer: 1 HU, nothing more
    assert (alone[0] - images[1]).abs().max() <= 1
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(SMALL.acquire(fractions, torch.tensor([5, 2, 9]), seed=2), images)


@pytest.mark.parametrize("photons", [math.inf, 2e4])
def test_gradient_is_the_finite_difference(photons):
    scanner = CT("tiny", photons=photons, views=7, quantise=False)
    fractions = random_fractions(2, 6, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: scanner.acquire(f, IDS, 4), fractions, eps=1e-6)


def test_rounding_passes_the_gradient():
    """A whole count stands in the logarithm's slope, 1/N: it moves that by at most 1/N."""
    fractions = random_fractions(1, 12, seed=3)
    weights = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for scanner in (SMALL, replace(SMALL, quantise=False)):
        leaf = fractions.clone().requires_grad_()
        image = scanner.acquire(leaf, IDS[:1], 0)
        assert image.min() > -1024 and image.max() < 3071
        gradients.append(torch.autograd.grad((image * weights).sum(), leaf)[0])
    fewest = float(SMALL.expected_counts(fractions).min())
    assert torch.equal(SMALL.acquire(leaf, IDS[:1], 0), SMALL.acquire(leaf, IDS[:1], 0).round())
    # the errors of single rays may add up: compare with the largest gradient
    assert (gradients[0] - gradients[1]).abs().max() < 2 / fewest * gradients[1].abs().max()


def test_clipping_stops_the_gradient():
    fractions = random_fractions(1, 12, seed=3)
    fractions[:, CHANNELS.index("skull"), 5:7, 5:7] = 6.0  # metal, as it were: beyond the scale
    fractions.requires_grad_()
    image = SMALL.acquire(fractions, IDS[:1], 0)
    (gradient,) = torch.autograd.grad((image * (image == 3071)).sum(), fractions)
    assert (image == 3071).any() and not gradient.any()


def test_pixels_are_what_a_scanner_stores():
    fractions = phantom(32, 11.0)
    fractions[:, CHANNELS.index("skull"), 15:18, 15:18] = 5.0
    image = CT_SHARP_LOW_DOSE.acquire(fractions, IDS[:1], 0)
    assert image.dtype == torch.float32
    assert torch.equal(image, image.round())
    assert image.min() >= -1024 and image.max() == 3071
    stored = to_int16(image)
    assert stored.dtype == torch.int16 and torch.equal(stored.float(), image)


def test_no_photon_at_all_is_still_a_picture():
    starved = replace(SMALL, photons=0.01)
    image = starved.acquire(phantom(16, 6.0), IDS[:1], 0)
    assert torch.isfinite(image).all()


def test_contrast_agent_lights_up_vessels():
    vessel = phantom(64, 20.0, tissue="blood")
    plain, enhanced = (
        float(replace(s, photons=math.inf).acquire(vessel, IDS[:1], 0)[0, 0, 24:41, 24:41].mean())
        for s in (CT_ROUTINE, CT_CONTRAST)
    )
    assert enhanced - plain == pytest.approx(55.0, abs=1.0)


def test_windows():
    units = torch.tensor([-1000.0, 0.0, 20.0, 40.0, 80.0, 500.0])
    assert window(units, *BRAIN_WINDOW).tolist() == [0, 0, 0.25, 0.5, 1, 1]
    assert window(torch.tensor([75.0]), *SUBDURAL_WINDOW).tolist() == [0.5]
    assert window(torch.tensor([-800.0, 2000.0]), *BONE_WINDOW).tolist() == [0, 1]
    with pytest.raises(ValueError, match="wide 0; expected finite numbers and a width"):
        window(units, 40, 0)


def test_the_protocol():
    assert CT_ROUTINE.units == "HU"
    assert (CT_ROUTINE.view.plane, CT_ROUTINE.view.field_of_view_mm) == ("axial", 240.0)
    assert len({s.name for s in (CT_ROUTINE, CT_SHARP_LOW_DOSE, CT_CONTRAST)}) == 3


def test_errors_name_the_way_out():
    with pytest.raises(ValueError, match=r"expected \(n, 11, size, size\) from a view with plane"):
        SMALL.acquire(torch.zeros(1, 11, 8, 9), IDS[:1], 0)
    with pytest.raises(ValueError, match=r"fractions have shape \(1, 3, 8, 8\)"):
        SMALL.acquire(torch.zeros(1, 3, 8, 8), IDS[:1], 0)
    for wrong, words in (
        ({"photons": 0.0}, "photons is 0.0"),
        ({"kernel": "bone"}, "kernel is 'bone'; the kernels are sharp, smooth"),
        ({"views": 0}, "views is 0"),
        ({"energy_kev": 10.0}, "energy_kev is 10.0; the tables reach"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(SMALL, **wrong)
    with pytest.raises(ValueError, match="reach from -2000 to 0; a scanner stores -1024 to 3071"):
        to_int16(torch.tensor([-2000.0, 0.0]))
