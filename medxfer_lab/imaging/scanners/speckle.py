"""Speckle: what its statistics say about scatterers, before and after log compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: mean over standard deviation of fully developed speckle (Rayleigh), sqrt(pi / (4 - pi))
RAYLEIGH_SNR = math.sqrt(math.pi / (4 - math.pi))
#: standard deviation of 20 log10 A: the log of an exponential intensity varies by pi / sqrt(6)
RAYLEIGH_LOG_SD_DB = 10 / math.log(10) * math.pi / math.sqrt(6)
#: skewness of log A, whatever is added to it or multiplied: minus that of Gumbel's distribution,
#: 12 sqrt(6) zeta(3) / pi^3
RAYLEIGH_LOG_SKEWNESS = -12 * math.sqrt(6) * 1.2020569031595943 / math.pi**3
#: excess kurtosis of log A, Gumbel's
RAYLEIGH_LOG_KURTOSIS = 12 / 5


@dataclass(frozen=True)
class SpeckleStatistics:
    """Of a patch of linear envelope A.

    snr: mean over standard deviation of A. log_sd_db: standard deviation of 20 log10 A.
    moment_ratio: <A^4> / <A^2>^2, 2 for Rayleigh. cells: effective number of independent samples.
    cell_samples: (along rows, along columns) extent of a speckle in samples.
    """

    snr: float
    log_sd_db: float
    moment_ratio: float
    cells: float
    cell_samples: tuple[float, float]

    @property
    def effective_scatterers(self) -> float:
        """m of the K distribution with this moment ratio, 2 (1 + 1/m); infinite at 2 or below."""
        return 2 / (self.moment_ratio - 2) if self.moment_ratio > 2 else math.inf


@dataclass(frozen=True)
class CompressedStatistics:
    """Of a patch of log-compressed grey levels g = a log A + b, with a and b unknown.

    skewness, kurtosis: of g, the latter in excess of a Gaussian's; a and b cancel.
    sd: standard deviation, grey levels. cells, cell_samples: as in SpeckleStatistics, of g.
    clipped: share of samples at the patch's own extremes: a lower bound on what the display cut.
    """

    skewness: float
    kurtosis: float
    sd: float
    cells: float
    cell_samples: tuple[float, float]
    clipped: float

    @property
    def implied_range_db(self) -> float:
        """Dynamic range that 256 grey levels span *if* the speckle is fully developed: a guess."""
        return 255 * RAYLEIGH_LOG_SD_DB / self.sd


def speckle_statistics(envelope: Tensor) -> SpeckleStatistics:
    """Statistics of a patch (H, W) of one tissue, linear amplitude, any unit.

    Fully developed speckle has SNR 1.913, log standard deviation 5.57 dB and moment ratio 2 (Wagner
    et al. 1983, IEEE Trans Sonics Ultrason 30:156). Few scatterers raise the ratio to 2 (1 + 1/m)
    (Jakeman's K distribution; Weng et al. 1991, JASA 89:2992), a steady echo lowers it and raises
    the SNR. Two tissues in a patch raise the ratio as well: choose patches of one tissue.
    """
    amplitude = _patch("envelope", envelope)
    if (amplitude < 0).any():
        raise ValueError(
            f"the envelope reaches {float(amplitude.min()):.3g}; an amplitude is never negative: "
            "for grey levels use compressed_statistics"
        )
    power = amplitude.square()
    positive = amplitude[amplitude > 0]
    extent = _extent(power)
    return SpeckleStatistics(
        snr=float(amplitude.mean() / amplitude.std()),
        log_sd_db=float((20 * torch.log10(positive)).std()),
        moment_ratio=float(power.square().mean() / power.mean().square()),
        cells=amplitude.numel() / (extent[0] * extent[1]),
        cell_samples=extent,
    )


def compressed_statistics(grey: Tensor) -> CompressedStatistics:
    """Statistics of a patch (H, W) of a *displayed* image, which any linear map of log A shares.

    A stored image keeps neither gain nor dynamic range, so its SNR and decibels mean nothing.
    Skewness and kurtosis do not depend on them: fully developed speckle, sampled but not averaged,
    log-compressed and not clipped, has -1.14 and 2.4. What moves them towards 0: averaging
    neighbours or frames. A grey map that is not logarithmic moves them too, and cannot be told
    apart from tissue.
    """
    g = _patch("grey", grey)
    centred = g - g.mean()
    variance = centred.square().mean()
    extent = _extent(g)
    return CompressedStatistics(
        skewness=float(centred.pow(3).mean() / variance**1.5),
        kurtosis=float(centred.pow(4).mean() / variance.square() - 3),
        sd=float(g.std()),
        cells=g.numel() / (extent[0] * extent[1]),
        cell_samples=extent,
        clipped=float(((g == g.min()) | (g == g.max())).double().mean()),
    )


def _patch(name: str, patch: Tensor) -> Tensor:
    """As float64, or an error."""
    if patch.ndim != 2 or min(patch.shape) < 4:
        raise ValueError(
            f"{name} has shape {tuple(patch.shape)}; expected one patch (H, W) of at least 4 x 4"
        )
    patch = patch.detach().double()
    if not patch.isfinite().all():
        raise ValueError(f"{name} holds values that are NaN or infinite: choose another patch")
    if patch.max() == patch.min():
        raise ValueError(f"{name} is {float(patch.max()):.3g} everywhere: it holds no speckle")
    return patch


def _extent(values: Tensor) -> tuple[float, float]:
    """Samples a speckle covers along each axis: 1 + 2 sum of autocorrelation, (H, W) -> 2 numbers.

    The variance of a mean over N samples is variance * extent / N. The sum ends where the estimated
    autocorrelation first is not positive (Geyer 1992, Statistical Science 7:473, for series), as
    its far tail is noise. Rows times columns is the area if the autocorrelation separates.
    """
    centred = values - values.mean()
    extents = []
    for axis, length in enumerate(values.shape):
        spectrum = torch.fft.rfft(centred, n=2 * length, dim=axis)
        lagged = torch.fft.irfft(spectrum.abs().square(), n=2 * length, dim=axis)
        lagged = lagged.movedim(axis, 0)[:length].sum(1)
        share = length / torch.arange(length, 0, -1)  # fewer pairs at long lags
        correlation = lagged / lagged[0] * share
        positive = (correlation > 0).double().cumprod(0)
        extents.append(float(1 + 2 * (correlation * positive)[1:].sum()))
    return extents[0], extents[1]
