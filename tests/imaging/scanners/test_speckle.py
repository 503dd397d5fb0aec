"""Speckle statistics against scipy's distributions, and against random fields of known make."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from scipy.integrate import quad

from medxfer_lab.imaging.scanners.speckle import (
    RAYLEIGH_LOG_KURTOSIS,
    RAYLEIGH_LOG_SD_DB,
    RAYLEIGH_LOG_SKEWNESS,
    RAYLEIGH_SNR,
    compressed_statistics,
    speckle_statistics,
)


def circular_gaussian(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Complex, unit mean power, independent samples."""
    real, imaginary = np.random.default_rng(seed).standard_normal((2, *shape)) / math.sqrt(2)
    return real + 1j * imaginary


def smooth_field(seed: int, sigma: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Independent samples blurred by a Gaussian of these standard deviations."""
    field = circular_gaussian(seed, shape)
    blur = [ndimage.gaussian_filter(part, sigma, mode="wrap") for part in (field.real, field.imag)]
    return blur[0] + 1j * blur[1]


def rayleigh_sd(influence) -> float:
    """Standard deviation of an influence function under a Rayleigh amplitude of unit power.

    An estimator's standard error from N independent samples is this over sqrt(N) (delta method).
    """
    density = stats.rayleigh(scale=math.sqrt(0.5)).pdf
    return math.sqrt(quad(lambda a: influence(a) ** 2 * density(a), 0, 12)[0])


MEAN, VARIANCE = math.sqrt(math.pi) / 2, 1 - math.pi / 4  # of A when <A^2> = 1
SD = math.sqrt(VARIANCE)
#: standard errors of SNR, log standard deviation and moment ratio from one cell
SNR_SE = rayleigh_sd(lambda a: (a - MEAN) / SD - MEAN / (2 * SD**3) * ((a - MEAN) ** 2 - VARIANCE))
RATIO_SE = rayleigh_sd(lambda a: (a**4 - 2) - 4 * (a**2 - 1))
LOG_SD_SE = RAYLEIGH_LOG_SD_DB / 2 * math.sqrt(RAYLEIGH_LOG_KURTOSIS + 2)


def test_constants_are_those_of_rayleigh_and_gumbel():
    rayleigh = stats.rayleigh()
    assert pytest.approx(rayleigh.mean() / rayleigh.std()) == RAYLEIGH_SNR
    assert pytest.approx(1.913, abs=5e-4) == RAYLEIGH_SNR
    assert pytest.approx(5.570, abs=5e-4) == RAYLEIGH_LOG_SD_DB
    # the log of a squared Rayleigh amplitude is Gumbel's, for minima
    mean, variance, skewness, kurtosis = stats.gumbel_l.stats(moments="mvsk")
    assert pytest.approx(10 / math.log(10) * math.sqrt(variance)) == RAYLEIGH_LOG_SD_DB
    assert pytest.approx(float(skewness)) == RAYLEIGH_LOG_SKEWNESS
    assert pytest.approx(float(kurtosis)) == RAYLEIGH_LOG_KURTOSIS


def test_standard_errors_of_one_cell():
    """Exact for the ratio: the variance of I^2 - 4 I + 2 under an exponential intensity is 4."""
    assert pytest.approx(2) == RATIO_SE
    assert pytest.approx(1.359, abs=1e-3) == SNR_SE


@pytest.mark.parametrize("seed", range(3))
def test_independent_rayleigh_samples(seed):
    found = speckle_statistics(torch.from_numpy(np.abs(circular_gaussian(seed, (300, 200)))))
    n = 60_000
    assert found.cells == pytest.approx(n, rel=0.06)
    assert found.snr == pytest.approx(RAYLEIGH_SNR, abs=4 * SNR_SE / math.sqrt(n))
    assert found.log_sd_db == pytest.approx(RAYLEIGH_LOG_SD_DB, abs=4 * LOG_SD_SE / math.sqrt(n))
    assert found.moment_ratio == pytest.approx(2, abs=4 * RATIO_SE / math.sqrt(n))


def test_the_extent_of_a_gaussian_speckle_is_known():
    # |autocorrelation|^2 of a field blurred with sigma is exp(-lag^2 / (2 sigma^2))
    sigma = (1.5, 3.0)
    found = speckle_statistics(torch.from_numpy(np.abs(smooth_field(0, sigma, (400, 400)))))
    expected = [s * math.sqrt(2 * math.pi) for s in sigma]
    assert found.cell_samples == pytest.approx(expected, rel=0.1)


def test_cells_count_what_a_mean_is_worth():
    """Over 300 patches, the mean intensity varies as cells independent exponentials would."""
    power = [np.abs(smooth_field(seed, (2.0, 2.0), (64, 64))) ** 2 for seed in range(300)]
    truth = np.mean(power)
    worth = truth**2 / np.var([np.mean(p) for p in power], ddof=1)
    cells = np.mean([speckle_statistics(torch.from_numpy(np.sqrt(p))).cells for p in power])
    # a variance from 300 values has a relative standard error of sqrt(2 / 299) = 8 %
    assert cells == pytest.approx(worth, rel=4 * math.sqrt(2 / 299))


@pytest.mark.parametrize("m", [0.5, 2.0, 8.0])
def test_the_k_distribution_s_number_is_recovered(m):
    """A K amplitude is a Rayleigh amplitude whose power is drawn from a gamma distribution."""
    shape, rng = (1000, 1000), np.random.default_rng(1)
    power = rng.gamma(m, 1 / m, shape) * np.abs(circular_gaussian(0, shape)) ** 2
    found = speckle_statistics(torch.from_numpy(np.sqrt(power)))
    assert found.moment_ratio == pytest.approx(2 * (1 + 1 / m), rel=0.03)
    assert found.effective_scatterers == pytest.approx(m, rel=0.15)
    assert found.snr < RAYLEIGH_SNR - 0.02


def test_a_steady_echo_raises_the_snr_as_rice_says():
    steady = 2.0
    found = speckle_statistics(torch.from_numpy(np.abs(steady + circular_gaussian(0, (300, 300)))))
    rice = stats.rice(b=steady * math.sqrt(2), scale=math.sqrt(0.5))
    assert found.snr == pytest.approx(rice.mean() / rice.std(), rel=0.02)
    assert found.moment_ratio < 2 and found.effective_scatterers == math.inf


def test_displayed_speckle_keeps_its_shape_under_any_gain_and_range():
    amplitude = torch.from_numpy(np.abs(circular_gaussian(3, (500, 500))))
    for slope, offset in ((1.0, 0.0), (17.0, -40.0)):
        found = compressed_statistics(slope * torch.log(amplitude) + offset)
        assert found.skewness == pytest.approx(RAYLEIGH_LOG_SKEWNESS, abs=0.05)
        assert found.kurtosis == pytest.approx(RAYLEIGH_LOG_KURTOSIS, abs=0.25)
    grey = 255 / 60 * 20 * torch.log10(amplitude)
    assert compressed_statistics(grey).implied_range_db == pytest.approx(60, rel=0.01)


def test_averaging_pulls_displayed_speckle_towards_a_gaussian():
    grey = torch.log(torch.from_numpy(np.abs(circular_gaussian(3, (500, 500)))))
    mean = grey.reshape(100, 5, 100, 5).mean((1, 3))
    found = compressed_statistics(mean)
    # the mean of 25 independent values has skewness / 5 and excess kurtosis / 25
    assert found.skewness == pytest.approx(RAYLEIGH_LOG_SKEWNESS / 5, abs=0.1)
    assert found.kurtosis == pytest.approx(RAYLEIGH_LOG_KURTOSIS / 25, abs=0.2)


def test_clipping_is_counted():
    grey = torch.arange(100.0).reshape(10, 10).clamp(20, 89)
    assert compressed_statistics(grey).clipped == pytest.approx((21 + 11) / 100)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (torch.rand(1, 8, 8), r"shape \(1, 8, 8\); expected one patch"),
        (torch.rand(3, 8), "at least 4 x 4"),
        (torch.full((8, 8), float("nan")), "NaN or infinite"),
        (torch.ones(8, 8), "1 everywhere"),
        (torch.rand(8, 8) - 0.9, "never negative: for grey levels use compressed_statistics"),
    ],
)
def test_a_patch_that_is_none_is_refused(patch, message):
    with pytest.raises(ValueError, match=message):
        speckle_statistics(patch)
