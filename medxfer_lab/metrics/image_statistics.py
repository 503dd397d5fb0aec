"""How one set of images differs from another: grey values and spatial frequencies.

Two summaries, each with a distance. The histogram forgets where a pixel lies, the power spectrum
forgets which way structures point and what phase they have: two sets that agree in both may still
look nothing alike, two that differ in one cannot be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from medxfer_lab._checks import finite_array, number, whole

NORMALISATIONS = ("none", "percentile", "z-score")


@dataclass(frozen=True)
class Histogram:
    """Density of grey values: density (bins,), its integral is the share inside; edges (bins + 1,).

    inside: share of the pixels between the first and the last edge. n: number of images.
    """

    density: np.ndarray
    edges: np.ndarray
    inside: float
    n: int
    normalise: str


@dataclass(frozen=True)
class RadialSpectrum:
    """Power spectral density of each image, averaged over rings of spatial frequency.

    frequency: (k,) mean over the ring, cycles per unit of ``spacing``, ascending.
    power: (n, k) squared grey values times squared spacing.
    coefficients: (k,) Fourier coefficients in a ring. independent: (k,) as many independent
        exponential variables average a ring of a Gaussian texture: half of them, for a real image
        has the same power at f and -f, and fewer under a window, which correlates neighbours.
    nyquist: 1 / (2 spacing); rings beyond it lie in the corners and are incomplete.
    """

    frequency: np.ndarray
    power: np.ndarray
    coefficients: np.ndarray
    independent: np.ndarray
    nyquist: float


@dataclass(frozen=True)
class Slope:
    """Exponent b of a power law P(f) = A f^-b: estimate, standard error, one value an image."""

    value: float
    standard_error: float
    per_image: np.ndarray


def intensity_histogram(
    images: ArrayLike | Sequence[ArrayLike],
    bins: int = 64,
    limits: tuple[float, float] | None = None,
    normalise: str = "percentile",
) -> Histogram:
    """Histogram of the grey values of all images, every image with the same weight.

    Args:
        images: (n, H, W) or (n, 1, H, W), or a list of images of any sizes.
        bins, limits: of the histogram; by default limits are those of the normalised values.
        normalise: of each image by itself, before counting. "percentile": its 1st and 99.5th
            percentile become 0 and 1, nothing is clipped; "z-score": mean 0, standard deviation 1;
            "none": pixels as they are, for images in a physical unit.
    """
    whole("bins", bins, 1)
    values = [_normalised(image, normalise) for image in _images(images)]
    if limits is None:
        limits = (min(v.min() for v in values), max(v.max() for v in values))
    low, high = limits
    if not low < high:
        raise ValueError(f"limits are {limits}: the lower must be smaller; are all pixels equal?")
    edges = np.linspace(low, high, bins + 1)
    share = np.mean([np.histogram(v, edges)[0] / v.size for v in values], axis=0)
    return Histogram(share / np.diff(edges), edges, float(share.sum()), len(values), normalise)


def histogram_distance(
    a: ArrayLike | Sequence[ArrayLike],
    b: ArrayLike | Sequence[ArrayLike],
    normalise: str = "percentile",
) -> float:
    """1-Wasserstein distance between the grey values of two sets, exact, without bins.

    W = integral |F_a(x) - F_b(x)| dx: the mean distance that grey has to be moved to turn one
    distribution into the other, in the unit that ``normalise`` leaves (shares of the range between
    the percentiles, standard deviations, or grey values; see :func:`intensity_histogram`). Every
    image of a set has the same weight, whatever its size.
    """
    samples, weights = [], []
    for images, sign in ((a, 1.0), (b, -1.0)):
        values = [_normalised(image, normalise) for image in _images(images)]
        samples += values
        weights += [np.full(v.size, sign / (len(values) * v.size)) for v in values]
    sample, weight = np.concatenate(samples), np.concatenate(weights)
    order = np.argsort(sample)
    gap = np.cumsum(weight[order])[:-1]  # F_a - F_b between two neighbouring grey values
    return float(np.abs(gap) @ np.diff(sample[order]))


def radial_power_spectrum(
    images: ArrayLike, spacing: float = 1.0, window: str | None = "hann"
) -> RadialSpectrum:
    """Power spectral density of images of one size, in rings one frequency step wide.

    S(f) = spacing^2 / (H W <w^2>) |sum_x w(x) (I(x) - mean) exp(-2 pi i f x)|^2, the periodogram:
    white noise of variance v has S = v spacing^2 at every frequency, and without a window the sum
    of S over all coefficients, divided by H W spacing^2, is the image's variance (Parseval).

    Args:
        images: (n, H, W) or (n, 1, H, W). spacing: edge length of a pixel: 1 gives cycles per
            pixel, millimetres give cycles per mm.
        window: "hann" keeps a step between opposite edges of the picture from leaking a 1/f^2
            cross over all frequencies; it mixes neighbouring frequencies. None: no window.
    """
    pixels = _stack(images)
    number("spacing", spacing, 0, open_low=True)
    height, width = pixels.shape[1:]
    taper = np.outer(_window(height, window), _window(width, window))
    centred = pixels - np.average(pixels, axis=(1, 2), weights=taper, keepdims=True)
    density = np.abs(np.fft.fft2(centred * taper)) ** 2
    density *= spacing**2 / (height * width * (taper**2).mean())
    vertical, horizontal = (np.fft.fftfreq(k, spacing) for k in (height, width))
    radius = np.hypot(vertical[:, None], horizontal[None, :]).ravel()
    step = 1 / (min(height, width) * spacing)
    ring = np.maximum(np.round(radius / step), radius > 0).astype(int)  # ring 0: the mean alone
    count = np.bincount(ring)
    kept = np.flatnonzero(count[1:]) + 1  # the mean was taken out
    power = np.stack([np.bincount(ring, d.ravel())[kept] / count[kept] for d in density])
    frequency = np.bincount(ring, radius)[kept] / count[kept]
    independent = _independent(ring.reshape(height, width), taper, len(count))[kept]
    return RadialSpectrum(frequency, power, count[kept], independent, 1 / (2 * spacing))


def spectral_slope(
    spectrum: RadialSpectrum, low: float | None = None, high: float | None = None
) -> Slope:
    """Fit P(f) = A f^-b to each image by weighted least squares of log P on log f.

    A ring that averages m independent exponential variables has log P with mean
    log S + psi(m) - log(m) and variance psi'(m): the first is taken off, the inverse of the second
    is its weight.

    Args:
        low, high: range of frequency, by default from the third ring, below which a window has
            moved power, to the Nyquist frequency.

    Returns:
        The mean of the images' exponents. Its standard error is their standard deviation over
        sqrt(n); for a single image that of the fit, which holds for a Gaussian texture that
        *is* a power law: an anatomy is neither, so trust it only from several images.
    """
    frequency = spectrum.frequency
    inside = frequency <= (spectrum.nyquist if high is None else high) * (1 + 1e-9)
    inside &= frequency >= (frequency[min(2, len(frequency) - 1)] if low is None else low)
    if inside.sum() < 3:
        raise ValueError(
            f"{int(inside.sum())} rings lie between {low} and {high}, a slope needs 3: frequencies "
            f"run from {frequency[0]:.3g} to the Nyquist frequency {spectrum.nyquist:.3g}"
        )
    power = spectrum.power[:, inside]
    if (power <= 0).any():
        raise ValueError("an image has no power in some ring: is it constant? Leave it out")
    m = spectrum.independent[inside]
    log_power = np.log(power) - (special.digamma(m) - np.log(m))
    weight = 1 / special.polygamma(1, m)
    x = np.log(frequency[inside])
    x = x - np.average(x, weights=weight)
    per_image = -(log_power * weight * x).sum(1) / (weight * x**2).sum()
    error = (weight * x**2).sum() ** -0.5
    if len(per_image) > 1:
        error = per_image.std(ddof=1) / len(per_image) ** 0.5
    return Slope(float(per_image.mean()), float(error), per_image)


def spectrum_distance(
    a: RadialSpectrum,
    b: RadialSpectrum,
    low: float | None = None,
    high: float | None = None,
    scale_free: bool = True,
) -> float:
    """Root mean square difference of two mean spectra in decibel, over the log of frequency.

    d^2 = mean over log f in [low, high] of (10 log10 P_a(f)/P_b(f) - c)^2, P the mean over the
    images of a set, interpolated linearly in log-log. c is 0, or with ``scale_free`` the mean
    difference, so that a factor on all grey values makes no distance. Both spectra must be in the
    same unit of frequency. low, high: by default what both cover, up to the lower Nyquist
    frequency.
    """
    low = max(s.frequency[0] for s in (a, b)) if low is None else low
    high = min(min(s.nyquist, s.frequency[-1]) for s in (a, b)) if high is None else high
    covered = max(s.frequency[0] for s in (a, b)), min(s.frequency[-1] for s in (a, b))
    if not (covered[0] * (1 - 1e-9) <= low < high <= covered[1] * (1 + 1e-9)):
        raise ValueError(
            f"frequencies from {low:.3g} to {high:.3g} are asked for; both spectra cover "
            f"{covered[0]:.3g} to {covered[1]:.3g}: were both made with the same unit of spacing?"
        )
    grid = np.linspace(np.log(low), np.log(high), 256)
    levels = [np.interp(grid, np.log(s.frequency), 10 * np.log10(s.power.mean(0))) for s in (a, b)]
    gap = levels[0] - levels[1]
    return float(np.sqrt(((gap - gap.mean() * scale_free) ** 2).mean()))


def _independent(ring: np.ndarray, taper: np.ndarray, rings: int) -> np.ndarray:
    """As many exponential variables as a ring's mean has variance for: (rings,).

    Under a window w two coefficients k and l of white noise correlate by the spectrum of w^2 at
    k - l: the squares K of it sum up to Var = 2 S^2 sum_{k, l in ring} K(k - l) / count^2.
    """
    kernel = np.abs(np.fft.fft2(taper**2) / (taper**2).sum()) ** 2
    pairs = np.zeros(rings)
    for offset in np.argwhere(kernel > 1e-9):
        same = ring == np.roll(ring, offset, axis=(0, 1))
        pairs += kernel[tuple(offset)] * np.bincount(ring[same], minlength=rings)
    count = np.bincount(ring.ravel(), minlength=rings)
    return np.divide(count**2, 2 * pairs, where=pairs > 0, out=np.zeros(rings))


def _images(images: ArrayLike | Sequence[ArrayLike]) -> list[np.ndarray]:
    """A list of 2D arrays, whether they came as one array or as images of many sizes."""
    if isinstance(images, (list, tuple)):
        single = [np.squeeze(np.asarray(image)) for image in images]
        if not single:
            raise ValueError("images is empty; pass at least one image")
        return [finite_array(f"images[{i}]", image, 2) for i, image in enumerate(single)]
    return list(_stack(images))


def _stack(images: ArrayLike) -> np.ndarray:
    """(n, H, W) float64."""
    pixels = finite_array("images", images, (3, 4))
    if pixels.ndim == 4:
        if pixels.shape[1] != 1:
            raise ValueError(
                f"images have shape {pixels.shape}: {pixels.shape[1]} channels; expected one grey "
                "channel: average them, or pass images[:, :1]"
            )
        pixels = pixels[:, 0]
    if min(pixels.shape[1:]) < 4:
        raise ValueError(f"images have shape {pixels.shape}; they need 4 pixels along each axis")
    return pixels


def _normalised(image: np.ndarray, normalise: str) -> np.ndarray:
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise is {normalise!r}; choose from {', '.join(NORMALISATIONS)}")
    if normalise == "none":
        return image.ravel()
    low, high = np.percentile(image, (1, 99.5))
    if normalise == "z-score":
        low, high = image.mean(), image.mean() + image.std()
    if not high > low:
        raise ValueError(f"an image is constant ({low:.3g}), so {normalise} cannot scale it")
    return ((image - low) / (high - low)).ravel()


def _window(length: int, name: str | None) -> np.ndarray:
    if name is None:
        return np.ones(length)
    if name != "hann":
        raise ValueError(f"window is {name!r}; choose 'hann' or None")
    return np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
