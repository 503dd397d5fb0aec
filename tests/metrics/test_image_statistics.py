"""Oracles: Parseval, scipy's Wasserstein distance and periodogram, textures of known spectrum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal, stats

from medxfer_lab.metrics.image_statistics import (
    histogram_distance,
    intensity_histogram,
    radial_power_spectrum,
    spectral_slope,
    spectrum_distance,
)

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal((40, 64, 64))


def power_law(n: int, size: int, exponent: float, seed: int) -> np.ndarray:
    """Gaussian textures with S(f) = f^-exponent, periodic: white noise filtered in k-space."""
    white = np.random.default_rng(seed).standard_normal((n, size, size))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    radius[0, 0] = 1
    return np.fft.ifft2(np.fft.fft2(white) * radius ** (-exponent / 2)).real


# ---- grey values


def test_histogram_is_a_density_of_equally_weighted_images():
    small, large = np.arange(16.0).reshape(4, 4), np.full((8, 8), 20.0)
    got = intensity_histogram([small, large], bins=5, limits=(0, 25), normalise="none")
    assert got.density * 5 == pytest.approx([5 / 32, 5 / 32, 5 / 32, 1 / 32, 0.5])
    assert (got.inside, got.n) == (1.0, 2)
    clipped = intensity_histogram([small, large], bins=3, limits=(0, 15), normalise="none")
    assert clipped.inside == 0.5 and clipped.density.sum() * 5 == pytest.approx(0.5)


def test_normalisations_undo_gain_and_offset_of_each_image():
    other = NOISE * RNG.uniform(2, 9, (40, 1, 1)) + RNG.uniform(-50, 50, (40, 1, 1))
    for rule in ("percentile", "z-score"):
        assert histogram_distance(NOISE, other, rule) == pytest.approx(0, abs=1e-12)
        one = intensity_histogram(NOISE, limits=(-5, 5), normalise=rule)
        two = intensity_histogram(other, limits=(-5, 5), normalise=rule)
        assert two.density == pytest.approx(one.density, abs=1e-3)
    assert histogram_distance(NOISE, other, "none") > 1
    low, high = np.percentile(NOISE[0], (1, 99.5))
    scaled = (NOISE[0] - low) / (high - low)
    edges = intensity_histogram(NOISE[:1], bins=3).edges
    assert (edges[0], edges[-1]) == pytest.approx((scaled.min(), scaled.max()))


def test_distance_is_scipys():
    a, b = RNG.gamma(2, size=(3, 20, 21)), RNG.normal(2, 1.5, size=(5, 17, 11))
    expected = stats.wasserstein_distance(a.ravel(), b.ravel())
    assert histogram_distance(a, b, "none") == pytest.approx(expected, rel=1e-9)
    assert histogram_distance(b, a, "none") == pytest.approx(expected, rel=1e-9)
    assert histogram_distance(a, a[::-1], "none") == pytest.approx(0, abs=1e-12)
    # of images of many sizes each has weight 1
    mixed = [a[0], b[0], b[1]]
    weights = np.concatenate([np.full(v.size, 1 / v.size) for v in mixed])
    expected = stats.wasserstein_distance(
        np.concatenate([v.ravel() for v in mixed]), a.ravel(), weights
    )
    assert histogram_distance(mixed, a, "none") == pytest.approx(expected, rel=1e-9)


def test_a_shift_is_the_distance_it_moves():
    assert histogram_distance(NOISE, NOISE + 0.3, "none") == pytest.approx(0.3)
    # normal, mean 0, sd 1 against sd 2: E|Z| (2 - 1) = sqrt(2/pi); 4 standard errors of quantiles
    gap = histogram_distance(NOISE, 2 * RNG.standard_normal(NOISE.shape), "none")
    assert gap == pytest.approx(np.sqrt(2 / np.pi), abs=4 * 2 / np.sqrt(NOISE.size))


# ---- spatial frequencies


@pytest.mark.parametrize("shape", [(16, 16), (15, 22), (32, 9)])
@pytest.mark.parametrize("spacing", [1.0, 0.7])
def test_parseval(shape, spacing):
    """Sum of S over all coefficients, over H W spacing^2, is the variance of each image."""
    images = RNG.gamma(1.0, size=(3, *shape))
    got = radial_power_spectrum(images, spacing, window=None)
    assert got.coefficients.sum() == images[0].size - 1  # all but the mean
    total = (got.power * got.coefficients).sum(1) / (images[0].size * spacing**2)
    assert total == pytest.approx(images.var(axis=(1, 2)))


def test_one_dimension_is_scipys_periodogram():
    """Rows all alike: all power on one axis, H times that of scipy's one-sided periodogram / 2."""
    row = RNG.standard_normal(32)
    frequency, density = signal.periodogram(row, detrend="constant")
    got = radial_power_spectrum(np.tile(row, (1, 32, 1)), window=None)
    for ring in range(1, 16):
        assert got.frequency[ring - 1] == pytest.approx(frequency[ring], abs=0.5 / 32)
        # two coefficients, +f and -f, of the ring carry everything
        summed = got.power[0, ring - 1] * got.coefficients[ring - 1]
        assert summed == pytest.approx(2 * 32 * density[ring] / 2)


@pytest.mark.parametrize("window", ["hann", None])
@pytest.mark.parametrize("spacing", [1.0, 2.5])
def test_white_noise_is_flat(window, spacing):
    """S = variance spacing^2 at every frequency; sd of a ring's mean S / sqrt(n independent)."""
    got = radial_power_spectrum(3 * NOISE, spacing, window)
    level = 9 * spacing**2
    inside = got.frequency < got.nyquist
    error = (got.power.mean(0) / level - 1) * np.sqrt(len(NOISE) * got.independent)
    # the first ring under a window has given up power with the mean
    error = error[inside][1:]
    assert np.abs(error).max() < 4.5  # 30 rings


@pytest.mark.parametrize("window", ["hann", None])
def test_independent_variables_of_a_ring(window):
    """The variance over images of a ring of white noise is S^2 / independent."""
    noise = np.random.default_rng(2).standard_normal((400, 32, 32))
    got = radial_power_spectrum(noise, window=window)
    seen = got.power.var(0, ddof=1) * got.independent
    # each has relative sd sqrt((2 + 6/m)/400) < 11 %; neighbours correlate, so no further 1/sqrt
    assert np.abs(seen[1:] - 1).max() < 0.4
    assert seen[1:].mean() == pytest.approx(1, abs=0.1)


def test_logarithms_of_few_coefficients_are_not_biased():
    """Small images, all rings: 4 coefficients in the first; E log P is below log E P there."""
    textures = np.random.default_rng(3).standard_normal((3000, 16, 16))
    got = spectral_slope(radial_power_spectrum(textures, window=None), low=0.0)
    assert abs(got.value) < 4 * got.standard_error < 0.03


def test_ring_of_a_wave():
    """A wave of 5 cycles per 32 pixels of 2 mm: all power in the ring at 5/64 per mm."""
    rows, columns = np.mgrid[:32, :32]
    wave = np.cos(2 * np.pi * (3 * rows + 4 * columns) / 32)
    got = radial_power_spectrum(wave[None], spacing=2.0, window=None)
    ring = got.power[0].argmax()
    assert got.frequency[ring] == pytest.approx(5 / 64, rel=0.03)
    assert got.power[0, ring] * got.coefficients[ring] / (32 * 32 * 4) == pytest.approx(0.5)
    assert np.delete(got.power[0], ring).max() < 1e-20
    assert got.nyquist == 0.25


@pytest.mark.parametrize("exponent", [0.0, 2.0, 3.0])
def test_slope_of_a_power_law_is_recovered(exponent):
    textures = power_law(60, 64, exponent, seed=4)
    # periodic textures need no window; with one, mixing curves the first rings
    got = spectral_slope(radial_power_spectrum(textures, window=None))
    assert abs(got.value - exponent) < 4 * got.standard_error
    assert got.standard_error == pytest.approx(got.per_image.std(ddof=1) / np.sqrt(60))
    # the standard error stated for one image is the spread over images (chi: 9 % for 60)
    one = spectral_slope(radial_power_spectrum(textures[:1], window=None))
    assert one.standard_error == pytest.approx(got.per_image.std(ddof=1), rel=0.3)
    windowed = spectral_slope(radial_power_spectrum(textures), low=6 / 64)
    assert windowed.value == pytest.approx(exponent, abs=4 * windowed.standard_error + 0.03)


def test_slope_does_not_depend_on_units():
    textures = power_law(4, 48, 2.5, seed=5)
    a = spectral_slope(radial_power_spectrum(textures))
    b = spectral_slope(radial_power_spectrum(7 * textures, spacing=0.3))
    assert b.per_image == pytest.approx(a.per_image)


def test_window_stops_leakage():
    """A ramp's edges jump: without a window its cross hides the texture's slope."""
    ramp = np.linspace(0, 400, 64)[None, None, :]
    pictures = power_law(8, 64, 3.0, seed=6) + ramp
    bare = spectral_slope(radial_power_spectrum(pictures, window=None), low=0.15)
    hann = spectral_slope(radial_power_spectrum(pictures), low=0.15)
    assert abs(hann.value - 3.0) < 0.25 < abs(bare.value - 3.0)


def test_spectrum_distance():
    flat = radial_power_spectrum(NOISE)
    assert spectrum_distance(flat, flat) == 0
    louder = radial_power_spectrum(10 * NOISE)
    assert spectrum_distance(flat, louder) == pytest.approx(0, abs=1e-9)
    assert spectrum_distance(flat, louder, scale_free=False) == pytest.approx(20)
    # power laws f^-2 and f^0: 20 log10 f, spread of a uniform variable over log f
    steep = radial_power_spectrum(power_law(40, 64, 2.0, seed=7), window=None)
    flat = radial_power_spectrum(NOISE, window=None)
    low, high = 4 / 64, 0.45
    got = spectrum_distance(steep, flat, low, high)
    assert got == pytest.approx(20 * np.log10(high / low) / np.sqrt(12), rel=0.05)
    assert spectrum_distance(flat, steep, low, high) == pytest.approx(got)


def test_spectra_of_other_sizes_and_spacings_meet():
    """The same texture law sampled twice as finely: the same spectrum in cycles per mm."""
    fine = power_law(30, 128, 2.0, seed=8)
    coarse = power_law(30, 64, 2.0, seed=9)
    a = radial_power_spectrum(fine, spacing=0.5)
    b = radial_power_spectrum(coarse, spacing=1.0)
    assert spectrum_distance(a, b, low=0.1, high=0.4) < 0.5
    wrong = radial_power_spectrum(fine, spacing=500.0)
    with pytest.raises(ValueError, match="same unit of spacing"):
        spectrum_distance(wrong, b)


def test_tensors_and_the_channel_axis():
    tensor = torch.from_numpy(NOISE).float()[:, None]
    got = radial_power_spectrum(tensor)
    assert got.power == pytest.approx(radial_power_spectrum(NOISE).power, rel=1e-3)
    assert histogram_distance(tensor, NOISE) == pytest.approx(0, abs=1e-5)
    assert intensity_histogram([tensor[0], tensor[1, 0]]).n == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radial_power_spectrum(np.zeros((2, 3, 8, 8))), "3 channels; expected one grey"),
        (lambda: radial_power_spectrum(np.zeros((8, 8))), "expected 3 or 4 axes"),
        (lambda: radial_power_spectrum(np.zeros((1, 3, 8))), "4 pixels along each axis"),
        (lambda: radial_power_spectrum(NOISE, spacing=0), "spacing is 0"),
        (lambda: radial_power_spectrum(NOISE, window="hamming"), "choose 'hann' or None"),
        (lambda: radial_power_spectrum(NOISE * np.nan), "NaN or infinite"),
        (lambda: intensity_histogram(NOISE, normalise="max"), "choose from none, percentile"),
        (lambda: intensity_histogram(np.ones((1, 8, 8))), "an image is constant"),
        (lambda: intensity_histogram(NOISE, limits=(1, 1)), "the lower must be smaller"),
        (lambda: intensity_histogram([]), "images is empty"),
        (lambda: histogram_distance([NOISE], NOISE), r"images\[0\] has shape .*expected 2 axes"),
        (lambda: spectral_slope(radial_power_spectrum(NOISE), 0.4, 0.41), "a slope needs 3"),
        (
            lambda: spectral_slope(radial_power_spectrum(np.ones((1, 16, 16)), window=None)),
            "no power in some ring",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
