"""Ultrasound against sums over scatterers, diffraction integrals and speckle's theory."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners.acoustics import ATTENUATION, ECHOGENICITY, IMPEDANCE
from medxfer_lab.imaging.scanners.echoes import beam, echo
from medxfer_lab.imaging.scanners.speckle import (
    RAYLEIGH_LOG_KURTOSIS,
    RAYLEIGH_LOG_SD_DB,
    RAYLEIGH_SNR,
    speckle_statistics,
)
from medxfer_lab.imaging.scanners.ultrasound import CURVED_8, LINEAR_12, PHASED_5

PROBES = [PHASED_5, CURVED_8, LINEAR_12]
#: what it takes for a uniform patch to obey the theory: matched compensation, no noise
QUIET = {"noise_db": -200.0, "tgc_db_cm_mhz": ATTENUATION["white_matter"]}
#: standard errors of SNR and moment ratio from one speckle cell, derived in test_speckle.py
SNR_SE, RATIO_SE = 1.359, 2.0


def layers(size: int, *bands: tuple[str, int], n: int = 1, dtype=torch.float32) -> torch.Tensor:
    """Horizontal bands of pure tissue, (tissue, rows) from the probe down; the last fills up."""
    fractions = torch.zeros(n, len(CHANNELS), size, size, dtype=dtype)
    row = 0
    for position, (tissue, rows) in enumerate(bands):
        end = size if position == len(bands) - 1 else row + rows
        fractions[:, CHANNELS.index(tissue), row:end] = 1
        row = end
    return fractions


def uniform(tissue: str, size: int, n: int = 1) -> torch.Tensor:
    return layers(size, (tissue, size), n=n)


def power_by_row(scanner, fractions, seed=0) -> torch.Tensor:
    """Mean squared envelope a fine row, over columns and patients."""
    envelope = scanner.envelope(fractions, torch.arange(len(fractions)), seed)
    return envelope.double().square().mean((0, 1, 3))


def full_width(profile: np.ndarray, step: float) -> float:
    """Full width at half maximum, the profile upsampled 64 times through its spectrum."""
    spectrum = np.fft.rfft(profile)
    fine = np.fft.irfft(spectrum, n=64 * len(profile))
    return np.count_nonzero(fine > fine.max() / 2) * step / 64


# --- the point-spread function


@pytest.mark.parametrize("scanner", PROBES, ids=lambda s: s.name)
@pytest.mark.parametrize("size", [32, 96, 200])
def test_the_fine_grid_samples_pulse_and_beam_twice_and_centres_pixels(scanner, size):
    grid = scanner.grid(size, size)
    spacing = scanner.field_of_view_mm / size
    depth = (torch.arange(grid.rows) + 0.5) * grid.step_mm[0]
    assert grid.step_mm[0] <= scanner.axial_fwhm_mm / 2
    assert grid.step_mm[1] <= float(scanner.lateral_fwhm_mm(depth).min()) / 2 * 1.01
    assert grid.axial % 2 == grid.lateral % 2 == 1
    assert (grid.rows, grid.columns) == (size * grid.axial, size * grid.lateral)
    assert grid.step_mm == pytest.approx((spacing / grid.axial, spacing / grid.lateral))


def test_the_field_is_the_sum_over_scatterers():
    """Eleven scatterers summed one by one, each with the beam of its own depth."""
    scanner = PHASED_5
    grid = scanner.grid(24, 24)
    rng = np.random.default_rng(0)
    shape = (grid.rows, grid.columns)
    scatterers = torch.zeros(shape, dtype=torch.complex128)
    expected = np.zeros(shape, dtype=complex)
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    sigma_z = scanner.axial_fwhm_mm / 2.354820 / grid.step_mm[0]
    for _ in range(11):
        r, c = rng.integers(20, shape[0] - 20), rng.integers(15, shape[1] - 15)
        amplitude = complex(*rng.standard_normal(2))
        scatterers[r, c] += amplitude
        width = float(scanner.lateral_fwhm_mm((r + 0.5) * grid.step_mm[0]))
        sigma_x = width / 2.354820 / grid.step_mm[1]
        spot = np.exp(-((rows - r) ** 2) / (2 * sigma_z**2) - (columns - c) ** 2 / (2 * sigma_x**2))
        expected += amplitude * spot / math.sqrt((spot**2).sum())
    found = echo(scanner, beam(scanner, scatterers, grid), grid).numpy()
    # the pulse is cut at 3 standard deviations or later, exp(-4.5) = 1 % of its peak
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("scanner", PROBES, ids=lambda s: s.name)
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 1.6])
def test_a_point_target_is_as_wide_as_the_formulas_say(scanner, share):
    scanner = replace(scanner, field_of_view_mm=2 * scanner.focus_mm)
    grid = scanner.grid(96, 96)
    row, column = int(share * grid.rows / 2), grid.columns // 2
    target = torch.zeros(grid.rows, grid.columns, dtype=torch.complex128)
    target[row, column] = 1
    image = echo(scanner, beam(scanner, target, grid), grid).abs().numpy()
    depth = (row + 0.5) * grid.step_mm[0]
    across, along = image[row], image[:, column]
    assert full_width(along, grid.step_mm[0]) == pytest.approx(scanner.axial_fwhm_mm, rel=0.03)
    wanted = float(scanner.lateral_fwhm_mm(depth))
    assert full_width(across, grid.step_mm[1]) == pytest.approx(wanted, rel=0.03)


def test_the_pulse_is_as_long_as_its_spectrum_is_narrow():
    """The envelope of the pulse whose spectrum has the stated width at half amplitude."""
    frequency = np.fft.fftfreq(2**14, d=0.005)  # MHz, for time in microseconds
    bandwidth = PHASED_5.bandwidth * PHASED_5.frequency_mhz
    spectrum = 2.0 ** (-((2 * (frequency - PHASED_5.frequency_mhz) / bandwidth) ** 2))
    envelope = np.fft.fftshift(np.abs(np.fft.ifft(spectrum)))
    microseconds = full_width(envelope, 0.005)
    assert 1.54 / 2 * microseconds == pytest.approx(PHASED_5.axial_fwhm_mm, rel=2e-3)


def huygens_width(scanner, depth: float) -> float:
    """Transmit-times-receive width of a rectangular aperture, from Huygens' sum of wavelets."""
    wave = 2 * math.pi / scanner.wavelength_mm
    x = np.linspace(-6, 6, 2401)[:, None]

    def one_way(aperture: float, focus: float) -> np.ndarray:
        element = np.linspace(-aperture / 2, aperture / 2, 401)[None]
        path = np.hypot(x - element, depth) - np.hypot(element, focus)
        return np.abs(np.exp(1j * wave * path).sum(1))

    receive = min(scanner.aperture_mm, depth / scanner.f_number)
    product = one_way(scanner.aperture_mm, scanner.focus_mm) * one_way(receive, depth)
    return np.count_nonzero(product > product.max() / 2) * 12 / 2400


@pytest.mark.parametrize("scanner", PROBES, ids=lambda s: s.name)
def test_the_gaussian_beam_is_the_width_of_the_diffracted_one(scanner):
    """At the focus closely; away from it the Gaussian aperture is an approximation."""
    at_focus = float(scanner.lateral_fwhm_mm(scanner.focus_mm))
    assert at_focus == pytest.approx(huygens_width(scanner, scanner.focus_mm), rel=0.05)
    for share in (0.5, 0.75, 1.3, 1.7):
        depth = share * scanner.focus_mm
        wanted = huygens_width(scanner, depth)
        assert float(scanner.lateral_fwhm_mm(depth)) == pytest.approx(wanted, rel=0.25)


def test_finer_with_frequency_and_aperture_and_wider_away_from_the_focus():
    axial = [replace(PHASED_5, frequency_mhz=f).axial_fwhm_mm for f in (3.0, 5.0, 8.0, 12.0)]
    assert axial == sorted(axial, reverse=True)
    assert axial[0] / axial[3] == pytest.approx(4)
    at_focus = [
        float(replace(PHASED_5, frequency_mhz=f).lateral_fwhm_mm(40.0)) for f in (3.0, 5.0, 12.0)
    ]
    assert at_focus[0] / at_focus[2] == pytest.approx(4)
    assert at_focus[1] == pytest.approx(0.886 * 1.54 / 5 * 40 / 20, rel=1e-3)
    assert float(replace(PHASED_5, aperture_mm=10.0).lateral_fwhm_mm(40.0)) > at_focus[1]
    depth = torch.linspace(40, 70, 50)
    assert (PHASED_5.lateral_fwhm_mm(depth).diff() > 0).all()
    # one fixed aperture, no f-number limit: width over depth is least at the focus
    fixed = replace(PHASED_5, f_number=1e-6)
    ratio = fixed.lateral_fwhm_mm(torch.linspace(10, 70, 121)) / torch.linspace(10, 70, 121)
    assert abs(10 + 0.5 * int(ratio.argmin()) - 40) <= 0.5


# --- fully developed speckle


@pytest.mark.parametrize("scanner", PROBES, ids=lambda s: s.name)
@pytest.mark.parametrize("seed", range(3))
def test_fully_developed_speckle(scanner, seed):
    scanner = replace(scanner, **QUIET)
    grid = scanner.grid(64, 64)
    envelope = scanner.envelope(uniform("white_matter", 64), torch.tensor([7]), seed)[0, 0]
    patch = envelope[3 * grid.axial : -3 * grid.axial]
    found = speckle_statistics(patch)
    error = 1 / math.sqrt(found.cells)
    log_se = RAYLEIGH_LOG_SD_DB / 2 * math.sqrt(RAYLEIGH_LOG_KURTOSIS + 2)
    assert found.cells > 2000
    assert found.snr == pytest.approx(RAYLEIGH_SNR, abs=4 * SNR_SE * error)
    assert found.log_sd_db == pytest.approx(RAYLEIGH_LOG_SD_DB, abs=4 * log_se * error)
    assert found.moment_ratio == pytest.approx(2, abs=4 * RATIO_SE * error)
    assert float(patch.square().mean()) == pytest.approx(1, abs=4 * error)


def samples_apart(scanner, seed: int) -> np.ndarray:
    """Envelope of two patients of white matter, every sample at least 2 widths from the next."""
    grid = scanner.grid(64, 64)
    envelope = scanner.envelope(uniform("white_matter", 64, n=2), torch.arange(2), seed)[:, 0]
    depth = torch.linspace(1, scanner.field_of_view_mm, 100)
    down = math.ceil(2 * scanner.axial_fwhm_mm / grid.step_mm[0])
    right = math.ceil(2 * float(scanner.lateral_fwhm_mm(depth).max()) / grid.step_mm[1])
    return envelope[:, 3 * grid.axial : -3 * grid.axial : down, ::right].flatten().numpy()


@pytest.mark.parametrize("scanner", PROBES, ids=lambda s: s.name)
def test_samples_a_speckle_apart_are_rayleigh(scanner):
    """Kolmogorov-Smirnov against unit power; the test has the power to see other speckle."""
    rayleigh = stats.rayleigh(scale=math.sqrt(0.5)).cdf
    apart = samples_apart(replace(scanner, **QUIET), seed=1)
    assert len(apart) > 1000
    assert stats.kstest(apart, rayleigh).pvalue > 1e-3
    sparse = samples_apart(replace(scanner, **QUIET, scatterers=1.0), seed=1)
    assert stats.kstest(sparse, rayleigh).pvalue < 1e-3
    overcompensated = samples_apart(replace(scanner, noise_db=-200.0, tgc_db_cm_mhz=0.65), seed=1)
    assert stats.kstest(overcompensated, rayleigh).pvalue < 1e-3


def widening(scanner, rows: np.ndarray, step: float) -> torch.Tensor:
    """Width of the beam at these fine rows over its width at the focus."""
    depth = torch.from_numpy((rows + 0.5) * step)
    return scanner.lateral_fwhm_mm(depth) / scanner.lateral_fwhm_mm(scanner.focus_mm)


def test_a_speckle_covers_the_resolution_cell():
    scanner = replace(PHASED_5, **QUIET)
    grid = scanner.grid(96, 96)
    envelope = scanner.envelope(uniform("white_matter", 96, n=6), torch.arange(6), 0)[:, 0]
    focus = round(scanner.focus_mm / grid.step_mm[0])
    rows = np.arange(focus - 30, focus + 30)
    extents = [speckle_statistics(patch[rows]).cell_samples for patch in envelope]
    axial, lateral = np.mean(extents, axis=0)
    area = axial * grid.step_mm[0] * lateral * grid.step_mm[1]
    wanted = scanner.cell_mm2 * float(widening(scanner, rows, grid.step_mm[0]).mean())
    assert area == pytest.approx(wanted, rel=0.1)


def test_the_edges_of_the_image_are_like_its_middle():
    """Sides and bottom have unit power, as tissue goes on there. The top row is the probe's."""
    scanner = replace(PHASED_5, **QUIET)
    envelope = scanner.envelope(uniform("white_matter", 48, n=12), torch.arange(12), 2)[:, 0]
    power = envelope.square()
    for edge in (power[:, 20:, :2], power[:, 20:, -2:], power[:, -2:]):
        cells = edge.numel() / 12  # a speckle is 2.3 x 2.4 samples at the focus, 2.3 x 5.5 at most
        assert float(edge.mean()) == pytest.approx(1, abs=4 / math.sqrt(cells))


def test_the_pixels_of_a_sampled_image_are_fully_developed_and_averaged_ones_are_not():
    quiet = replace(PHASED_5, **QUIET, dynamic_range_db=400.0)  # nothing is clipped
    sampled = replace(quiet, pixels="sample")
    brain, ids = uniform("white_matter", 96, n=4), torch.arange(4)
    decibel = quiet.dynamic_range_db / 255
    spread = float(sampled.acquire(brain, ids, 0)[:, :, 3:-3].std()) * decibel
    assert spread == pytest.approx(RAYLEIGH_LOG_SD_DB, rel=0.02)
    assert float(quiet.acquire(brain, ids, 0)[:, :, 3:-3].std()) * decibel < 0.6 * spread


# --- where it is not fully developed


def excess(scanner, patients: int, size: int = 40) -> tuple[float, float, float]:
    """Moment ratio minus 2 in a band around the focus: measured, its standard error, predicted.

    Prediction (Campbell): Poisson scatterers of circular Gaussian amplitude, on average L a node,
    have <|F|^4> - 2 <|F|^2>^2 = 2 sum h^4 / L for a point-spread function with sum h^2 = 1, that is
    2 / N for N scatterers in a cell of (sum h^2)^2 / sum h^4 nodes. The sum over nodes is used, not
    the integral: the fine grid has two samples a width, the sum is up to 12 % above the integral.
    """
    grid = scanner.grid(size, size)
    focus = round(scanner.focus_mm / grid.step_mm[0])
    rows = np.arange(focus - 40, focus + 40)
    ratios = []
    for patient in range(patients):
        envelope = scanner.envelope(uniform("white_matter", size), torch.tensor([patient]), 5)
        power = envelope[0, 0, rows].double().square()
        ratios.append(float(power.square().mean()))  # <A^2> is 1 by construction
    target = torch.zeros(grid.rows, grid.columns, dtype=torch.complex128)
    target[focus, grid.columns // 2] = 1
    spot = echo(scanner, beam(scanner, target, grid), grid).abs()
    per_node = scanner.scatterers * grid.step_mm[0] * grid.step_mm[1] / scanner.cell_mm2
    predicted = 2 * float(spot.pow(4).sum()) / per_node
    predicted *= float((1 / widening(scanner, rows, grid.step_mm[0])).mean())  # more in wider cells
    return np.mean(ratios) - 2, np.std(ratios, ddof=1) / math.sqrt(patients), predicted


@pytest.mark.parametrize("scatterers", [0.5, 1.0, 2.0, 5.0, 20.0])
def test_few_scatterers_follow_the_k_distribution_s_moment(scatterers):
    scanner = replace(PHASED_5, **QUIET, scatterers=scatterers, field_of_view_mm=60.0)
    measured, error, predicted = excess(scanner, patients=24)
    assert predicted < 2 / scatterers * 1.13
    assert measured == pytest.approx(predicted, abs=4 * error)
    if scatterers <= 5:  # and the difference from fully developed speckle is seen
        assert measured > 4 * error


def test_the_fewer_scatterers_the_lower_the_snr():
    snr = []
    for scatterers in (0.5, 1.0, 2.0, 5.0, math.inf):
        scanner = replace(PHASED_5, **QUIET, scatterers=scatterers)
        envelope = scanner.envelope(uniform("white_matter", 64), torch.tensor([0]), 0)
        snr.append(speckle_statistics(envelope[0, 0, 20:-20]).snr)
    assert snr == sorted(snr)
    assert snr[0] < 1.5 and snr[-1] == pytest.approx(RAYLEIGH_SNR, abs=0.05)


def test_a_patch_across_two_tissues_mixes_two_rayleighs():
    """Moment ratio 2 <p^2> / <p>^2 for powers p1 and p2, half the patch each."""
    fractions = uniform("grey_matter", 64, n=3)
    fractions[..., 32:] = uniform("enhancing", 64, n=3)[..., 32:]
    scanner = replace(PHASED_5, **QUIET)
    envelope = scanner.envelope(fractions, torch.arange(3), 0)[:, 0, 30:-30].flatten(0, 1)
    found = speckle_statistics(envelope)
    power = [10 ** (ECHOGENICITY[t] / 10) for t in ("grey_matter", "enhancing")]
    mixed = 2 * np.mean(np.square(power)) / np.mean(power) ** 2
    assert found.moment_ratio == pytest.approx(mixed, rel=0.08)
    assert found.moment_ratio > 2.5 and found.snr < RAYLEIGH_SNR - 0.2


def test_a_flat_interface_is_a_steady_echo():
    """Fluid over brain: |R| at specular_db, and a Rice amplitude there instead of Rayleigh's."""
    scanner = replace(PHASED_5, noise_db=-200.0, specular_db=50.0, tgc_db_cm_mhz=0.0)
    fractions = layers(48, ("csf", 20), ("white_matter", 28), n=4)
    grid = scanner.grid(48, 48)
    envelope = scanner.envelope(fractions, torch.arange(4), 0)[:, 0, 20 * grid.axial].flatten()
    bounce = abs(IMPEDANCE["white_matter"] - IMPEDANCE["csf"])
    bounce /= IMPEDANCE["white_matter"] + IMPEDANCE["csf"]
    steady = bounce * 10 ** (50 / 20)
    assert steady > 5
    # half the pulse lies in brain, so the speckle on top has about half of unit power
    rice = stats.rice(b=steady / math.sqrt(0.25), scale=math.sqrt(0.25))
    assert float(envelope.mean()) == pytest.approx(rice.mean(), rel=0.02)
    assert float(envelope.mean() / envelope.std()) > 3 * RAYLEIGH_SNR


# --- loss, compensation, noise


def test_loss_over_a_layer_is_two_f_times_attenuation():
    """The same scatterers with and without a layer of clot above them: an exact ratio."""
    quiet = replace(PHASED_5, **QUIET)
    clot = layers(48, ("white_matter", 10), ("haematoma", 8), ("white_matter", 30))
    with_clot = quiet.envelope(clot, torch.tensor([0]), 0)
    without = quiet.envelope(uniform("white_matter", 48), torch.tensor([0]), 0)
    axial = quiet.grid(48, 48).axial
    change = 20 * torch.log10(with_clot / without)[0, 0, 22 * axial :]
    layer_cm = 8 * 70 / 48 / 10
    spared = 2 * 5 * (ATTENUATION["white_matter"] - ATTENUATION["haematoma"]) * layer_cm
    torch.testing.assert_close(change, torch.full_like(change, spared), atol=2e-3, rtol=0)


def test_calcification_throws_a_shadow_and_fluid_lights_up_what_is_behind():
    quiet = replace(PHASED_5, **QUIET)
    fractions = uniform("white_matter", 48)
    for tissue, columns in (("calcification", slice(8, 16)), ("csf", slice(30, 40))):
        fractions[:, :, 10:12, columns] = 0
        fractions[:, CHANNELS.index(tissue), 10:12, columns] = 1
    axial, lateral = quiet.grid(48, 48).axial, quiet.grid(48, 48).lateral
    envelope = quiet.envelope(fractions, torch.tensor([0]), 0)[0, 0, 25 * axial :]
    level = 20 * torch.log10(envelope.reshape(-1, 48, lateral)).mean((0, 2))
    bounce = (IMPEDANCE["calcification"] - 1.622) / (IMPEDANCE["calcification"] + 1.622)
    thick = 2 * 5 * 2 * 70 / 48 / 10  # dB per unit of attenuation, two rows of pixels
    shadow = thick * (ATTENUATION["calcification"] - 0.6) - 2 * 20 * math.log10(1 - bounce**2)
    plain = float(level[[2, 3, 22, 23, 24, 25]].mean())
    assert plain - float(level[11:13].mean()) == pytest.approx(shadow, abs=1.5)
    bounce = (1.622 - 1.5) / (1.622 + 1.5)
    enhanced = thick * (0.6 - ATTENUATION["csf"]) + 2 * 20 * math.log10(1 - bounce**2)
    assert float(level[34:37].mean()) - plain == pytest.approx(enhanced, abs=1.0)


@pytest.mark.parametrize("tgc", [0.0, 0.4, 0.6, 0.8])
def test_compensation_leaves_what_it_does_not_know(tgc):
    scanner = replace(PHASED_5, noise_db=-200.0, tgc_db_cm_mhz=tgc)
    power = power_by_row(scanner, uniform("white_matter", 48, n=2))[20:-20]
    depth = np.arange(len(power)) * scanner.grid(48, 48).step_mm[0] / 10
    fit = stats.linregress(depth, 10 * torch.log10(power).numpy())
    # rows of one pulse are correlated: the fit's standard error is too small by about 1.6
    assert fit.slope == pytest.approx(2 * 5 * (tgc - 0.6), abs=4 * 1.6 * fit.stderr)
    assert fit.stderr < 0.1


@pytest.mark.parametrize("frequency", [6.0, 8.0, 12.0])
def test_signal_meets_noise_at_the_depth_of_the_formula(frequency):
    """Where the power is twice that of noise alone: white matter, noise at -45 dB."""
    scanner = replace(PHASED_5, frequency_mhz=frequency, noise_db=-45.0, tgc_db_cm_mhz=0.0)
    scanner = replace(scanner, field_of_view_mm=2.2 * scanner.penetration_mm())
    power = power_by_row(scanner, uniform("white_matter", 48, n=6)).numpy()
    step = scanner.grid(48, 48).step_mm[0]
    depth = (np.arange(len(power)) + 0.5) * step
    noise = np.mean(power[depth > 1.5 * scanner.penetration_mm()])
    assert 10 * math.log10(noise) == pytest.approx(-45, abs=0.2)
    signal = power - noise
    fitted = (depth > 5) & (depth < 0.8 * scanner.penetration_mm())
    fit = stats.linregress(depth[fitted], 10 * np.log10(signal[fitted]))
    crossing = (10 * math.log10(noise) - fit.intercept) / fit.slope
    assert crossing == pytest.approx(scanner.penetration_mm(), rel=0.03)
    assert scanner.penetration_mm() == pytest.approx(45 / (2 * 0.6 * frequency) * 10)


# --- display, randomness, gradients


def test_compression_is_linear_in_decibels_and_clips():
    scanner = replace(PHASED_5, dynamic_range_db=60.0, gain_db=0.0)
    amplitude = 10 ** (torch.tensor([-90.0, -30.0, 0.0, 12.0, 30.0, 60.0]) / 20)
    expected = torch.tensor([0.0, 0.0, 127.5, 127.5 + 51.0, 255.0, 255.0])
    torch.testing.assert_close(scanner.compress(amplitude), expected, atol=1e-3, rtol=0)
    louder = replace(scanner, gain_db=6.0).compress(torch.ones(1))
    assert float(louder) == pytest.approx(127.5 + 6 * 255 / 60)


def test_pixels_are_means_or_centres_of_the_compressed_fine_image():
    fractions, ids = layers(24, ("grey_matter", 9), ("lesion", 15)), torch.tensor([3])
    grid = LINEAR_12.grid(24, 24)
    fine = LINEAR_12.compress(LINEAR_12.envelope(fractions, ids, 0))
    mean = torch.nn.functional.avg_pool2d(fine, (grid.axial, grid.lateral))
    torch.testing.assert_close(LINEAR_12.acquire(fractions, ids, 0), mean, atol=1e-2, rtol=0)
    centre = fine[..., grid.axial // 2 :: grid.axial, grid.lateral // 2 :: grid.lateral]
    sampled = replace(LINEAR_12, pixels="sample").acquire(fractions, ids, 0)
    assert torch.equal(sampled, centre)


def test_tissues_rank_as_their_echogenicity():
    grey = {
        tissue: float(
            replace(PHASED_5, **QUIET)
            .acquire(uniform(tissue, 32), torch.tensor([0]), 0)[..., :8, :]
            .mean()
        )
        for tissue in ("csf", "blood", "grey_matter", "white_matter", "oedema", "lesion")
    }
    assert list(grey.values()) == sorted(grey.values())
    assert grey["csf"] < 2 and 100 < grey["white_matter"] < 130


@pytest.mark.parametrize("scanner", PROBES, ids=lambda s: s.name)
def test_images_are_grey_levels_in_the_plane_under_the_probe(scanner):
    image = scanner.acquire(uniform("white_matter", 32, n=2), torch.arange(2), 0)
    assert image.shape == (2, 1, 32, 32) and image.dtype == torch.float32
    assert image.isfinite().all() and 0 <= image.min() and image.max() <= 255
    assert scanner.units == "grey level"
    assert scanner.view.plane == "probe"
    assert scanner.view.field_of_view_mm == scanner.field_of_view_mm


@pytest.mark.parametrize("scatterers", [3.0, math.inf])
def test_a_patient_s_image_depends_on_seed_and_id_alone(scatterers):
    scanner = replace(CURVED_8, scatterers=scatterers)
    fractions = layers(24, ("grey_matter", 9), ("white_matter", 15), n=3)
    ids = torch.tensor([4, 9, 2])
    batch = scanner.acquire(fractions, ids, 11)
    alone = scanner.acquire(fractions[1:2], ids[1:2], 11)
    assert torch.equal(batch[1:2], alone)
    assert not torch.equal(batch[0], batch[1])
    assert not torch.equal(scanner.acquire(fractions, ids, 12), batch)


@pytest.mark.parametrize("scatterers", [3.0, math.inf])
@pytest.mark.parametrize("pixels", ["mean", "sample"])
def test_gradients_match_finite_differences(scatterers, pixels):
    """Random mixtures of all tissues and air, 12 fractions nudged one by one in float64."""
    scanner = replace(
        PHASED_5, scatterers=scatterers, pixels=pixels, field_of_view_mm=8.0, dynamic_range_db=200.0
    )
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet(np.ones(len(CHANNELS) + 1), size=(1, 10, 10))[..., :-1]
    fractions = torch.from_numpy(mixtures).permute(0, 3, 1, 2).contiguous().requires_grad_()
    weights = torch.from_numpy(rng.standard_normal((1, 1, 10, 10)))
    ids = torch.tensor([0])

    def score(x: torch.Tensor) -> torch.Tensor:
        return (weights * scanner.acquire(x, ids, 0)).sum()

    score(fractions).backward()
    step = 1e-6
    for channel in range(len(CHANNELS)):
        row, column = rng.integers(0, 10, 2)
        nudge = torch.zeros_like(fractions)
        nudge[0, channel, row, column] = step
        with torch.no_grad():
            slope = (score(fractions + nudge) - score(fractions - nudge)) / (2 * step)
        found = float(fractions.grad[0, channel, row, column])
        assert found == pytest.approx(float(slope), rel=1e-5, abs=1e-5)


def test_gradients_stay_finite_in_pure_and_empty_pixels():
    fractions = layers(16, ("csf", 4), ("grey_matter", 4), ("calcification", 2), ("skull", 3))
    fractions[:, :, 13:] = 0  # air
    fractions.requires_grad_()
    PHASED_5.acquire(fractions, torch.tensor([0]), 0).sum().backward()
    assert fractions.grad.isfinite().all() and (fractions.grad != 0).any()


# --- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequency_mhz": 0.0}, "frequency_mhz is 0.0; it must be positive"),
        ({"scatterers": -1.0}, "scatterers is -1.0"),
        ({"bandwidth": 3.0}, r"bandwidth is 3.0; it is a fraction in \(0, 2\]"),
        ({"tgc_db_cm_mhz": -0.1}, "use 0 for no compensation"),
        ({"pixels": "peak"}, "pixels is 'peak'"),
        ({"focus_mm": float("nan")}, "focus_mm is nan"),
    ],
)
def test_an_impossible_probe_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(PHASED_5, **change)


def test_other_fractions_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 3, 8, 8\); expected \(n, 11, H, W\)"):
        PHASED_5.acquire(torch.zeros(1, 3, 8, 8), torch.tensor([0]), 0)
    with pytest.raises(ValueError, match="2 ids for 1 patients"):
        PHASED_5.acquire(torch.zeros(1, 11, 8, 8), torch.tensor([0, 1]), 0)
